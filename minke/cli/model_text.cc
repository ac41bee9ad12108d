#include "minke/cli/model_text.h"

#include "minke/text/tokenizer_config.h"

namespace minke {

Result<TokenizerLists> TokenizerListsOf(const GgufMetadata& metadata, std::string_view where) {
  const auto model = metadata.String("tokenizer.ggml.model");
  if (!model || *model == "none") return Fail(Code::kNotFound, "{}: has no tokenizer", where);
  const auto tokens = metadata.Strings("tokenizer.ggml.tokens"), merges = metadata.Strings("tokenizer.ggml.merges");
  const auto types = metadata.Ints("tokenizer.ggml.token_type");
  TokenizerLists lists;
  lists.model = *model;
  lists.pre = metadata.String("tokenizer.ggml.pre").value_or("");
  if (tokens) lists.tokens.assign(tokens->begin(), tokens->end());
  if (merges) lists.merges.assign(merges->begin(), merges->end());
  if (types) lists.types = *types;
  return lists;
}

Result<std::unique_ptr<Tokenizer>> OpenTokenizer(const ModelPath& model) {
  if (!IsGgufPath(model.path)) return Tokenizer::Open(model.folder);
  MINKE_ASSIGN(const GgufFiles gguf, OpenGguf(model.path));
  MINKE_ASSIGN(const TokenizerLists lists, TokenizerListsOf(gguf.metadata, model.path));
  return Tokenizer::FromLists(lists, model.path);
}

Result<TemplateChoice> ChooseTemplate(const ModelPath& model, std::string_view model_type) {
  if (!IsGgufPath(model.path)) return ChooseTemplate(model.folder, model_type);
  MINKE_ASSIGN(const GgufFiles gguf, OpenGguf(model.path));
  return RecognizeTemplate(gguf.metadata.String("tokenizer.chat_template").value_or(""), model_type);
}

Result<bool> AddsBeginToken(const ModelPath& model) {
  if (!IsGgufPath(model.path)) return FolderAddsBeginToken(model.folder);
  MINKE_ASSIGN(const GgufFiles gguf, OpenGguf(model.path));
  return gguf.metadata.Bool("tokenizer.ggml.add_bos_token").value_or(false);
}

}  // namespace minke
