// A byte-level BPE tokenizer as lists by id, which is how a GGUF file has it, and as the tokenizer.json it was.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/text/tokenizer_file.h"

namespace minke {

enum class ListedToken : int64_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

struct TokenizerLists {
  std::string model, pre;           // "gpt2"; "deepseek-v3"
  std::vector<std::string> tokens;  // by id: in the byte alphabet, control and user-defined ones as they are
  std::vector<int64_t> types;       // by id, ListedToken
  std::vector<std::string> merges;  // "a b"
};

// Errors: kUnsupported for a model or pre-tokenizer that Tokenizer does not compute, by name; kDamaged.
Result<TokenizerFile> FileOfLists(const TokenizerLists& lists, std::string_view where);
// Of a file that Tokenizer accepts. Ids without a token become "[PAD7]", unused. `size` is the model's vocab_size.
TokenizerLists ListsOfFile(const TokenizerFile& file, int64_t size);

// The text of tokenizer.json.
std::string TokenizerJson(const TokenizerFile& file);

}  // namespace minke
