// Training data as files of lines: what both the dataset and the tokenizer's trainer read. Formats: docs/data.md.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/text/chat.h"

namespace minke {

// Raw text behind a prompt, as a model and its environment wrote it.
struct DataPart {
  std::string text;
  bool loss = true;  // the model's
};

// One line of a .jsonl file: a text, or messages, which `parts` may follow.
struct DataLine {
  bool is_text = false;
  std::string text;
  std::vector<Message> messages;
  std::vector<bool> loss;       // by message: an assistant's, unless its "loss" says no
  std::vector<DataPart> parts;  // the answer to the messages, thinking and markers included

  // Errors: kInvalidArgument, without a file or line, which the caller knows.
  static Result<DataLine> Parse(std::string_view line);
};

// Calls `add` for each text of a file: a .jsonl file's lines (a message's reasoning and content are two texts), any
// other file whole. Nothing is kept. Errors: kNotFound, kFailed; kInvalidArgument with file and line.
Status ForEachText(const std::string& path, const std::function<void(std::string_view)>& add);

}  // namespace minke
