// One answer, shown while it is written.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "minke/cli/chat_model.h"
#include "minke/cli/command.h"
#include "minke/text/chat.h"

namespace minke {

// How an answer appears on standard output. Reasoning is dimmed where there is colour, else put between <think> and
// </think>; control characters that a model writes do not reach a terminal.
class AnswerPrinter {
 public:
  enum class Show { kAll, kAnswerOnly, kNothing };
  AnswerPrinter(CliContext& context, Show show);
  Status Reasoning(std::string_view text);
  Status Content(std::string_view text);
  Status Call(const ToolCall& call);
  Status End();  // closes what is open, ends the line

 private:
  Status Write(std::string_view text);
  Status Close();  // the reasoning, if it is open

  Output& out_;
  Show show_;
  bool color_, terminal_;
  bool in_reasoning_ = false, any_ = false, at_line_start_ = true;
};

struct AnswerRequest {
  std::vector<TokenId> prompt;
  bool thinking = false;
  bool raw = false;  // no parsing: every byte is content
  SamplingParams params;
};

struct Answer {
  Message message;  // of the assistant
  FinishReason reason = FinishReason::kFailed;
  uint64_t seed = 0;
  RequestStats stats;
};

// Blocks until the answer's ending, which is there also when a signal cancelled it (reason kCancelled). Errors: those
// of Submit, of the engine's ending, and of standard output (the work is cancelled then).
Result<Answer> StreamAnswer(const ChatModel& chat, const AnswerRequest& request, AnswerPrinter& printer,
                            const CliContext& context);

// The line of facts: tokens, tokens/s, selected positions against context, attention, drafts if there were any,
// kernels, template, temperature, seed.
std::string Facts(const ChatModel& chat, const AnswerRequest& request, const Answer& answer);
double TokensPerSecond(const RequestStats& stats);  // of decoding

}  // namespace minke
