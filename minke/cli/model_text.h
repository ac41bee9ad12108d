// The text side of MODEL: tokenizer, chat template, begin token; from the files of its folder, or from inside a GGUF
// file.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "minke/cli/model_path.h"
#include "minke/model/checkpoint_writer.h"
#include "minke/tensor/gguf_writer.h"
#include "minke/text/chat_template.h"
#include "minke/text/tokenizer.h"

namespace minke {

// Errors: kNotFound where there is none; those of Tokenizer.
Result<std::unique_ptr<Tokenizer>> OpenTokenizer(const ModelPath& model);
Result<TemplateChoice> ChooseTemplate(const ModelPath& model, std::string_view model_type);
// Whether a text that no template wraps gets the begin token in front.
Result<bool> AddsBeginToken(const ModelPath& model);

// config.json and what else a folder of safetensors needs, for writing MODEL anew. A tokenizer in a GGUF file that
// Tokenizer does not compute is left out, and `warn` told. Errors: kNotFound, kDamaged.
Result<ModelFiles> FilesOf(const ModelPath& model, const std::function<void(const std::string&)>& warn);
// The tokenizer and template of a folder as GGUF has them. Errors, with nothing added: those of Tokenizer, for what it
// does not compute; kDamaged.
Status AddTokenizer(const ModelPath& model, int64_t vocab_size, GgufWriter& writer);

// tokenizer.ggml.*; kNotFound where the file has no tokenizer.
Result<TokenizerLists> TokenizerListsOf(const GgufMetadata& metadata, std::string_view where);

}  // namespace minke
