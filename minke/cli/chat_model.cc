#include "minke/cli/chat_model.h"

#include "minke/cli/model_text.h"

namespace minke {

Message TextMessage(std::string role, std::string content) {
  Message message;
  message.role = std::move(role), message.content = std::move(content);
  return message;
}

Result<std::unique_ptr<ChatModel>> ChatModel::Open(const ModelFlags& flags, const CliContext& context,
                                                   int64_t max_sequences) {
  auto chat = std::unique_ptr<ChatModel>(new ChatModel);
  EngineOptions options = flags.engine_options();
  MINKE_ASSIGN(options.kernels, ChooseKernelSet(context.isa));
  chat->kernels_ = options.kernels;
  MINKE_ASSIGN(chat->opened_, OpenModel(flags, context));
  const ModelConfig& config = chat->config();
  MINKE_ASSIGN(chat->tokenizer_, OpenTokenizer(chat->opened_.path));
  MINKE_ASSIGN(chat->choice_, ChooseTemplate(chat->opened_.path, config.model_type));
  if (!chat->choice_.is_own)
    context.Warn(chat->choice_.note);
  else if (context.verbose)
    context.Note(chat->choice_.note);
  options.model = chat->opened_.model;
  options.num_threads = context.ThreadCount();
  options.max_sequences = max_sequences;
  options.token_bytes = [tokenizer = chat->tokenizer_.get()](TokenId id) { return tokenizer->TokenBytes(id); };
  MINKE_ASSIGN(chat->engine_, Engine::Open(options));
  chat->context_ = chat->engine_->stats().context;
  chat->attention_ = DescribeAttention(config, flags.attention_mode());
  return chat;
}

Result<bool> ChatModel::ChooseThinking(std::optional<bool> asked) const {
  const bool can = choice_.format != ChatFormat::kV3, must = choice_.format == ChatFormat::kR1;
  if (asked && (*asked ? !can : must)) {
    return Fail(Code::kInvalidArgument, "{}: the format {} of this model {}", *asked ? "--think" : "--no-think",
                Name(choice_.format), *asked ? "has no thinking" : "always thinks");
  }
  return asked.value_or(can);
}

Result<std::vector<TokenId>> ChatModel::Encode(std::span<const Message> messages, bool thinking) const {
  EncodeOptions options;
  options.thinking_mode = thinking ? ThinkingMode::kThinking : ThinkingMode::kChat;
  options.opens_think = choice_.opens_think;
  MINKE_ASSIGN(const std::string prompt, EncodeChat(choice_.format, messages, options));
  return tokenizer_->Encode(prompt);
}

}  // namespace minke
