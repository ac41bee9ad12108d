// Which chat format a checkpoint wants. A Jinja chat_template is honoured when it is one of those we have as code; we
// do not run Jinja.
#pragma once

#include <string>
#include <string_view>

#include "minke/base/result.h"
#include "minke/text/chat.h"

namespace minke {

struct TemplateChoice {
  ChatFormat format = ChatFormat::kV32;
  bool opens_think = false;  // for EncodeOptions
  bool is_own = false;       // what the checkpoint itself asks for; false: a substitute, to be said to the user
  std::string note;          // one sentence: which template is used, and why
};

// `chat_template`: the checkpoint's Jinja text, "" if it has none. `model_type`: of its config.json.
TemplateChoice RecognizeTemplate(std::string_view chat_template, std::string_view model_type);

// The Jinja text out of tokenizer_config.json (a text, or a list of named ones of which "default" counts); "" if there
// is none. Errors: kDamaged.
Result<std::string> TemplateOfTokenizerConfig(std::string_view tokenizer_config, std::string_view where);

// Reads chat_template.jinja, else tokenizer_config.json, of a checkpoint's folder; neither has to be there ("").
// Errors: kDamaged.
Result<std::string> FolderTemplate(const std::string& folder);
Result<TemplateChoice> ChooseTemplate(const std::string& folder, std::string_view model_type);

}  // namespace minke
