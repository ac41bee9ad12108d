#include "minke/cli/model_text.h"

#include "minke/base/file.h"
#include "minke/base/json.h"
#include "minke/model/gguf_model.h"
#include "minke/text/tokenizer_config.h"

namespace minke {

Result<TokenizerLists> TokenizerListsOf(const GgufMetadata& metadata, std::string_view where) {
  const auto model = metadata.String("tokenizer.ggml.model");
  if (!model || *model == "none") return Fail(Code::kNotFound, "{}: has no tokenizer", where);
  constexpr int64_t kMost = int64_t{1} << 20;  // before they are copied; Tokenizer takes no more either
  const int64_t num_tokens = metadata.Count("tokenizer.ggml.tokens");
  if (num_tokens > kMost || metadata.Count("tokenizer.ggml.merges") > 4 * kMost)
    return Fail(Code::kDamaged, "{}: tokenizer.ggml has more than {} tokens, or four times as many merges", where,
                kMost);
  if (const int64_t types = metadata.Count("tokenizer.ggml.token_type"); types > num_tokens)
    return Fail(Code::kDamaged, "{}: has {} tokens, but {} types of tokens", where, num_tokens, types);
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

Result<ModelFiles> FilesOf(const ModelPath& model, const std::function<void(const std::string&)>& warn) {
  ModelFiles files;
  if (!IsGgufPath(model.path)) {
    files.folder = model.folder;
    const std::string path = model.folder + "/config.json";
    MINKE_ASSIGN(const std::string text, ReadFile(path, kMaxConfigBytes));
    MINKE_ASSIGN(files.config, ParseJson(text, path));
    return files;
  }
  MINKE_ASSIGN(const GgufFiles gguf, OpenGguf(model.path));
  MINKE_ASSIGN(files.config, ConfigOfGgufFiles(gguf, model.path));
  const auto lists = TokenizerListsOf(gguf.metadata, model.path);
  if (!lists && lists.error().code == Code::kNotFound) return files;
  if (!lists) return Fail(lists.error());
  // What opens here opens from the folder too.
  if (const auto tokenizer = Tokenizer::FromLists(*lists, model.path); !tokenizer) {
    if (tokenizer.error().code != Code::kUnsupported) return Fail(tokenizer.error());
    warn(fmt::format("the folder gets no tokenizer.json: {}", tokenizer.error().message));
    return files;
  }
  MINKE_ASSIGN(const TokenizerFile tokenizer, FileOfLists(*lists, model.path));
  files.texts.emplace_back("tokenizer.json", TokenizerJson(tokenizer));
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"add_bos_token", gguf.metadata.Bool("tokenizer.ggml.add_bos_token").value_or(false)}};
  for (const char* name : {"bos", "eos"})
    if (const auto id = gguf.metadata.Int(fmt::format("tokenizer.ggml.{}_token_id", name));
        id && *id >= 0 && *id < static_cast<int64_t>(lists->tokens.size()))
      config[fmt::format("{}_token", name)] = lists->tokens[static_cast<size_t>(*id)];
  if (const auto chat = gguf.metadata.String("tokenizer.chat_template")) config["chat_template"] = *chat;
  files.texts.emplace_back("tokenizer_config.json", DumpJson(config) + "\n");
  return files;
}

Status AddTokenizer(const ModelPath& model, int64_t vocab_size, GgufWriter& writer) {
  MINKE_TRY(Tokenizer::Open(model.folder));  // only one that we compute can be named
  const std::string path = model.folder + "/tokenizer.json";
  MINKE_ASSIGN(const std::string text, ReadFile(path, Tokenizer::kMaxFileBytes));
  MINKE_ASSIGN(const TokenizerFile file, ReadTokenizerFile(text, path));
  MINKE_ASSIGN(const bool adds_begin, FolderAddsBeginToken(model.folder));
  MINKE_ASSIGN(const std::string chat, FolderTemplate(model.folder));
  const TokenizerLists lists = ListsOfFile(file, vocab_size);
  writer.String("tokenizer.ggml.model", lists.model);
  writer.String("tokenizer.ggml.pre", lists.pre);
  writer.Strings("tokenizer.ggml.tokens", lists.tokens);
  writer.Ints("tokenizer.ggml.token_type", lists.types);
  writer.Strings("tokenizer.ggml.merges", lists.merges);
  writer.Bool("tokenizer.ggml.add_bos_token", adds_begin);
  if (!chat.empty()) writer.String("tokenizer.chat_template", chat);
  return {};
}

}  // namespace minke
