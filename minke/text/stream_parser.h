// Splits what a model writes into reasoning, content and tool calls while it is being written. Never fails: text that
// breaks the format becomes content (chat_parser.h says how). One per answer; not thread-safe.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "minke/text/chat.h"

namespace minke {

class CallScanner;

// What one piece of text added.
struct ChatDelta {
  std::string reasoning;
  std::string content;
  std::vector<ToolCall> tool_calls;  // each complete; arguments are valid JSON
  bool empty() const { return reasoning.empty() && content.empty() && tool_calls.empty(); }
};

class StreamParser {
 public:
  StreamParser(ChatFormat format, ThinkingMode mode);
  ~StreamParser();
  StreamParser(StreamParser&&) noexcept;
  StreamParser& operator=(StreamParser&&) noexcept;

  // Whole characters only (utf8_stream.h). What could be the start of a marker is held back until it is known. The sum
  // over all pushes is linear in the text, whatever the pieces are. Text after the end marker is dropped.
  ChatDelta Push(std::string_view text);
  // The model has stopped: gives out what was held back.
  ChatDelta Finish();

  const Message& message() const { return message_; }     // the sum of all deltas
  bool ended() const { return state_ == State::kEnded; }  // the end marker was seen
  // True once content may come: </think> was seen, or there was nothing to close.
  bool reasoning_closed() const { return state_ != State::kStart && state_ != State::kReasoning && !unclosed_; }

 private:
  enum class State { kStart, kReasoning, kContent, kCalls, kAfterCalls, kBroken, kEnded };

  void Advance(bool finishing, ChatDelta& delta);
  // Gives out the text before the first of the stops, which is removed too and returned; with none, all that cannot
  // be the start of one and "".
  std::string_view TakeUntil(std::span<const std::string> stops, bool finishing, std::string& out);
  bool ScanCalls(bool finishing, ChatDelta& delta);  // false: more text is needed
  void Apply(const ChatDelta& delta);

  ChatFormat format_;
  ThinkingMode mode_;
  State state_ = State::kStart;
  bool unclosed_ = false;  // ended inside the reasoning
  std::vector<std::string> reasoning_stops_, content_stops_, broken_stops_;
  std::string pending_;  // received, not given out
  std::string block_;    // from the newlines before the calls' opener on
  std::unique_ptr<CallScanner> scanner_;
  Message message_;
};

}  // namespace minke
