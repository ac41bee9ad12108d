#include "minke/cli/answer.h"

#include <unistd.h>

#include <algorithm>

#include "minke/cli/signals.h"
#include "minke/cli/terminal.h"
#include "minke/text/stream_parser.h"
#include "minke/text/utf8_stream.h"

namespace minke {

AnswerPrinter::AnswerPrinter(CliContext& context, Show show)
    : out_(context.out),
      show_(show),
      color_(UseColor(STDOUT_FILENO, context.color)),
      terminal_(IsTerminal(STDOUT_FILENO)) {}

Status AnswerPrinter::Write(std::string_view text) {
  if (text.empty()) return {};
  any_ = true;
  at_line_start_ = text.back() == '\n';
  MINKE_TRY(terminal_ ? out_.Write(WithoutControls(text)) : out_.Write(text));
  return out_.Flush();
}

Status AnswerPrinter::Reasoning(std::string_view text) {
  if (show_ != Show::kAll || text.empty()) return {};
  if (!in_reasoning_) {
    in_reasoning_ = true;
    MINKE_TRY(out_.Write(color_ ? "\033[2m" : "<think>"));
  }
  return Write(text);
}

Status AnswerPrinter::Close() {
  if (!in_reasoning_) return {};
  in_reasoning_ = false;
  MINKE_TRY(out_.Write(color_ ? "\033[0m\n\n" : "</think>\n"));
  at_line_start_ = true;
  return out_.Flush();
}

Status AnswerPrinter::Content(std::string_view text) {
  if (show_ == Show::kNothing || text.empty()) return {};
  MINKE_TRY(Close());
  return Write(text);
}

Status AnswerPrinter::Call(const ToolCall& call) {
  if (show_ == Show::kNothing) return {};
  MINKE_TRY(Close());
  return Write(fmt::format("{}[call] {} {}\n", at_line_start_ ? "" : "\n", call.name, call.arguments));
}

Status AnswerPrinter::End() {
  MINKE_TRY(Close());
  if (any_ && !at_line_start_) MINKE_TRY(Write("\n"));
  return out_.Flush();
}

Result<Answer> StreamAnswer(const ChatModel& chat, const AnswerRequest& request, AnswerPrinter& printer,
                            const CliContext& context) {
  Answer answer;
  StreamParser parser(chat.choice().format, request.thinking ? ThinkingMode::kThinking : ThinkingMode::kChat);
  Utf8Stream characters;
  std::string raw;
  const auto show = [&](const ChatDelta& delta) -> Status {
    MINKE_TRY(printer.Reasoning(delta.reasoning));
    MINKE_TRY(printer.Content(delta.content));
    for (const ToolCall& call : delta.tool_calls) MINKE_TRY(printer.Call(call));
    return {};
  };
  const auto take = [&](const std::string& text) -> Status {
    if (!request.raw) return show(parser.Push(text));
    raw += text;
    return printer.Content(text);
  };

  Progress progress("reading the prompt", "tokens", !context.quiet);
  MINKE_ASSIGN(const auto generation, Generation::Start(chat.engine(), request.prompt, request.params));
  for (bool cancelled = false;;) {
    if (SignalGuard::Raised() && !cancelled) {
      generation->Cancel();
      cancelled = true;
    }
    GenerationEvent event;
    if (!generation->Next(event, /*timeout_ms=*/100)) continue;
    if (event.kind == GenerationEvent::Kind::kPrefill) {
      progress.Update(static_cast<double>(event.done), static_cast<double>(event.total));
      continue;
    }
    progress.Clear();
    MINKE_TRY(take(characters.Push(event.text)));
    if (event.kind != GenerationEvent::Kind::kEnd) continue;
    MINKE_TRY(take(characters.Finish()));
    if (!request.raw) MINKE_TRY(show(parser.Finish()));
    MINKE_TRY(printer.End());
    if (event.reason == FinishReason::kFailed) return Fail(event.error);
    answer.message = parser.message();
    if (request.raw) answer.message.content = raw;
    answer.reason = event.reason, answer.seed = event.seed, answer.stats = event.stats;
    return answer;
  }
}

double TokensPerSecond(const RequestStats& stats) {
  // The first token belongs to the prefill, whose last row it is.
  const double tokens = static_cast<double>(std::max<int64_t>(0, stats.generated_tokens - 1));
  return stats.decode_s > 0 ? tokens / stats.decode_s : 0;
}

std::string Facts(const ChatModel& chat, const AnswerRequest& request, const Answer& answer) {
  const RequestStats& stats = answer.stats;
  const double queries = static_cast<double>(std::max<int64_t>(1, stats.queries));
  std::string facts = fmt::format("{} prompt + {} answer tokens, {:.1f} tokens/s (prompt read in {:.2f} s)",
                                  stats.prompt_tokens, stats.generated_tokens, TokensPerSecond(stats), stats.prefill_s);
  facts += fmt::format("; attention {}: {:.1f} of {:.1f} visible positions per query", chat.attention(),
                       static_cast<double>(stats.selected_keys) / queries,
                       static_cast<double>(stats.visible_keys) / queries);
  if (stats.drafts > 0) facts += fmt::format("; mtp {}", DescribeDrafts(stats.drafts, stats.accepted_drafts));
  if (stats.experts.needed > 0) facts += fmt::format("; experts {}", DescribeExperts(stats.experts));
  facts += fmt::format("; kernels {}", chat.kernels().name);
  facts += request.raw ? "; no template (--raw)" : fmt::format("; template {}", Name(chat.choice().format));
  facts += fmt::format("; temperature {:g}", request.params.temperature);
  if (request.params.temperature > 0) facts += fmt::format(", seed {}", answer.seed);
  if (answer.reason == FinishReason::kLength) facts += "; stopped by the token limit (-n)";
  if (answer.reason == FinishReason::kCancelled) facts += "; cancelled";
  return facts;
}

}  // namespace minke
