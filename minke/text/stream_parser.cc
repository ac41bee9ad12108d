#include "minke/text/stream_parser.h"

#include <algorithm>

#include "minke/text/call_scanner.h"
#include "minke/text/markers.h"

namespace minke {

using namespace markers;  // NOLINT: the names of the formats

namespace {

// Length of the longest end of `text` that one of the stops begins with.
size_t HeldBack(std::string_view text, std::span<const std::string> stops) {
  size_t longest = 0;
  for (const std::string& stop : stops)
    for (size_t n = std::min(text.size(), stop.size() - 1); n > longest; --n)
      if (text.ends_with(std::string_view(stop).substr(0, n))) longest = n;
  return longest;
}

}  // namespace

StreamParser::StreamParser(ChatFormat format, ThinkingMode mode) : format_(format), mode_(mode) {
  message_.role = "assistant";
  reasoning_stops_ = {std::string(kThinkEnd), std::string(kEnd)};
  broken_stops_ = {std::string(kEnd)};
  const std::string opener(format == ChatFormat::kV32 ? kCalls : kToolCalls);
  content_stops_ = {std::string(kEnd), opener};
  // The newlines before the opener are not content; a model may leave them out.
  if (format == ChatFormat::kV32) content_stops_ = {std::string(kEnd), "\n\n" + opener, "\n" + opener, opener};
  if (format != ChatFormat::kR1)
    state_ = mode == ThinkingMode::kThinking ? State::kReasoning : State::kContent;  // nothing to wait for
}
StreamParser::~StreamParser() = default;
StreamParser::StreamParser(StreamParser&&) noexcept = default;
StreamParser& StreamParser::operator=(StreamParser&&) noexcept = default;

ChatDelta StreamParser::Push(std::string_view text) {
  ChatDelta delta;
  (state_ == State::kCalls ? block_ : pending_) += text;
  Advance(/*finishing=*/false, delta);
  Apply(delta);
  return delta;
}

ChatDelta StreamParser::Finish() {
  ChatDelta delta;
  Advance(/*finishing=*/true, delta);
  Apply(delta);
  return delta;
}

void StreamParser::Apply(const ChatDelta& delta) {
  message_.reasoning_content += delta.reasoning;
  message_.content += delta.content;
  message_.tool_calls.insert(message_.tool_calls.end(), delta.tool_calls.begin(), delta.tool_calls.end());
}

std::string_view StreamParser::TakeUntil(std::span<const std::string> stops, bool finishing, std::string& out) {
  size_t best = std::string::npos;
  std::string_view found;
  for (const std::string& stop : stops) {
    const size_t end = best == std::string::npos ? best : best + stop.size();
    if (const size_t at = std::string_view(pending_).substr(0, end).find(stop); at < best) {
      best = at;
      found = stop;
    }
  }
  const size_t given = !found.empty() ? best : pending_.size() - (finishing ? 0 : HeldBack(pending_, stops));
  out.append(pending_, 0, given);
  pending_.erase(0, given + found.size());
  return found;
}

void StreamParser::Advance(bool finishing, ChatDelta& delta) {
  for (;;) {
    switch (state_) {
      case State::kStart: {  // R1 writes <think> itself
        const bool opened = pending_.starts_with(kThink);
        if (!opened && !finishing && kThink.starts_with(pending_)) return;
        if (opened) pending_.erase(0, kThink.size());
        state_ = opened || mode_ == ThinkingMode::kThinking ? State::kReasoning : State::kContent;
        break;
      }
      case State::kReasoning: {
        const std::string_view stop = TakeUntil(reasoning_stops_, finishing, delta.reasoning);
        if (stop.empty()) {
          unclosed_ = finishing;
          return;
        }
        unclosed_ = stop == kEnd;
        state_ = stop == kEnd ? State::kEnded : State::kContent;
        break;
      }
      case State::kContent: {
        const std::string_view stop = TakeUntil(content_stops_, finishing, delta.content);
        if (stop.empty()) return;
        if (stop == kEnd) {
          state_ = State::kEnded;
          break;
        }
        block_.assign(stop).append(pending_);
        pending_.clear();
        scanner_ = MakeCallScanner(format_, stop.size());
        state_ = State::kCalls;
        break;
      }
      case State::kCalls:
        if (!ScanCalls(finishing, delta)) return;
        break;
      case State::kAfterCalls: {
        // White space behind the block is nothing; other text is content.
        const size_t text = std::min(pending_.find_first_not_of(" \t\n\r"), pending_.size());
        const std::string_view rest = std::string_view(pending_).substr(text);
        if (!rest.starts_with(kEnd) && kEnd.starts_with(rest) && !finishing) return;
        pending_.erase(0, text);
        state_ = State::kBroken;
        break;
      }
      case State::kBroken:
        if (TakeUntil(broken_stops_, finishing, delta.content).empty()) return;
        state_ = State::kEnded;
        break;
      case State::kEnded:
        pending_.clear();
        return;
    }
  }
}

bool StreamParser::ScanCalls(bool finishing, ChatDelta& delta) {
  ToolCall call;
  CallScanner::Step step = scanner_->Next(block_, call);
  for (; step == CallScanner::Step::kCall; step = scanner_->Next(block_, call))
    delta.tool_calls.push_back(std::move(call));
  if (step == CallScanner::Step::kNeedMore && !finishing) return false;
  // What follows the block, or what broke it with all that comes.
  pending_ = block_.substr(scanner_->good());
  // A model stopped between the last call and the end of the block has said all it had to say.
  const std::string_view closing = format_ == ChatFormat::kV32 ? kCallsEnd : kToolCallsEnd;
  const std::string_view rest =
      std::string_view(pending_).substr(std::min(pending_.find_first_not_of(" \t\n\r"), pending_.size()));
  if (finishing && scanner_->good() > 0 && closing.starts_with(rest)) {
    pending_.clear();
    step = CallScanner::Step::kEnd;
  }
  block_.clear();
  scanner_.reset();
  state_ = step == CallScanner::Step::kEnd ? State::kAfterCalls : State::kBroken;
  return true;
}

}  // namespace minke
