// Everything that turns messages into an answer: model, tokenizer, template and engine, opened once for run, chat and
// eval.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "minke/cli/generation.h"
#include "minke/cli/model_flags.h"
#include "minke/engine/engine.h"
#include "minke/text/chat.h"
#include "minke/text/chat_template.h"
#include "minke/text/tokenizer.h"

namespace minke {

Message TextMessage(std::string role, std::string content);

class ChatModel {
 public:
  static Result<std::unique_ptr<ChatModel>> Open(const ModelFlags& flags, const CliContext& context,
                                                 int64_t max_sequences = 1);

  Engine& engine() const { return *engine_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const TemplateChoice& choice() const { return choice_; }
  const ModelConfig& config() const { return opened_.model->config(); }
  const ModelPath& path() const { return opened_.path; }
  int64_t context() const { return context_; }                 // tokens
  const std::string& attention() const { return attention_; }  // in words
  const KernelSet& kernels() const { return *kernels_; }

  // Whether the format can do what is `asked`: V3 cannot think, R1 cannot help it. Without a wish: thinking where the
  // format has it. kInvalidArgument with the format's name.
  Result<bool> ChooseThinking(std::optional<bool> asked) const;
  // Messages -> token ids under the checkpoint's template.
  Result<std::vector<TokenId>> Encode(std::span<const Message> messages, bool thinking) const;

 private:
  ChatModel() = default;

  OpenedModel opened_;
  std::unique_ptr<const Tokenizer> tokenizer_;  // outlives the engine, which shows its bytes
  TemplateChoice choice_;
  std::unique_ptr<Engine> engine_;
  const KernelSet* kernels_ = nullptr;
  int64_t context_ = 0;
  std::string attention_;
};

}  // namespace minke
