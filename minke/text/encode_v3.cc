// The Jinja templates of DeepSeek-V3 (December 2024) and R1 as code. They are followed to the letter, oddities
// included, because other engines run the template itself (tests/chat_template_test.py renders both and compares):
// the markers that open a group of calls and a group of results are written once in a conversation; V3 closes the calls
// only after a second one and shows a message's calls only if it has no text.
#include <string_view>

#include "minke/text/chat.h"
#include "minke/text/markers.h"

namespace minke {
namespace {

using namespace markers;  // NOLINT: the names of the format

class Encoder {
 public:
  Encoder(bool r1, std::span<const Message> messages, const EncodeOptions& options)
      : r1_(r1), messages_(messages), options_(options) {}

  Result<std::string> Encode() {
    if (!options_.context.empty()) return Fail(Code::kInvalidArgument, "context is for the format v32 only");
    if (options_.add_default_bos_token) out_ += kBegin;
    MINKE_TRY(Systems());
    for (size_t i = 0; i < messages_.size(); ++i) {
      const Message& message = messages_[i];
      if (message.role == "user") {
        after_tool_ = false;
        out_.append(kUser).append(message.content);
      } else if (message.role == "tool") {
        ToolResult(message);
      } else if (message.role == "assistant") {
        const size_t begin = Assistant(message);
        if (options_.turns) options_.turns->push_back({i, begin, out_.size()});
      } else if (message.role != "system") {
        return Fail(Code::kInvalidArgument, "messages[{}]: the role \"{}\" has no place in this template", i,
                    message.role);
      }
    }
    if (after_tool_) {
      out_ += kToolOutputsEnd;
    } else if (options_.add_generation_prompt) {
      out_ += kAssistant;
      if (options_.opens_think) out_ += "<think>\n";
    }
    return std::move(out_);
  }

 private:
  Status Systems() {
    bool first = true;
    for (size_t i = 0; i < messages_.size(); ++i) {
      if (!messages_[i].tools.empty() || messages_[i].response_format)
        return Fail(Code::kInvalidArgument, "messages[{}]: this template cannot show tools or a response format", i);
      if (messages_[i].role != "system") continue;
      if (!first) out_ += "\n\n";
      first = false;
      out_ += messages_[i].content;
    }
    return {};
  }

  // Returns where its own words begin.
  size_t Assistant(const Message& message) {
    if (!message.tool_calls.empty() && (r1_ || message.content.empty())) {
      after_tool_ = false;
      return Calls(message);
    }
    size_t begin;
    if (after_tool_) {
      out_ += kToolOutputsEnd;
      begin = out_.size();
      out_ += message.content;
    } else {
      std::string_view text = message.content;
      const size_t think_end = r1_ ? text.rfind(kThinkEnd) : std::string_view::npos;
      if (think_end != std::string_view::npos) text.remove_prefix(think_end + kThinkEnd.size());
      out_ += kAssistant;
      begin = out_.size();
      out_ += text;
    }
    after_tool_ = false;
    out_ += kEnd;
    return begin;
  }

  size_t Calls(const Message& message) {
    const size_t begin = out_.size() + (any_call_ ? 0 : kAssistant.size());
    for (const ToolCall& call : message.tool_calls) {
      const bool later = any_call_;
      if (later) {
        out_ += '\n';
      } else {
        out_.append(kAssistant).append(message.content).append(kToolCalls);
      }
      any_call_ = true;
      out_.append(kToolCall).append("function").append(kToolSep).append(call.name);
      out_.append("\n```json\n").append(call.arguments).append("\n```").append(kToolCallEnd);
      if (!r1_ && later) out_.append(kToolCallsEnd).append(kEnd);
    }
    if (r1_) out_.append(kToolCallsEnd).append(kEnd);
    return begin;
  }

  void ToolResult(const Message& message) {
    after_tool_ = true;
    if (!any_result_) {
      out_ += kToolOutputs;
    } else if (!r1_) {
      out_ += '\n';
    }
    any_result_ = true;
    out_.append(kToolOutput).append(message.content).append(kToolOutputEnd);
  }

  const bool r1_;
  std::span<const Message> messages_;
  const EncodeOptions& options_;
  std::string out_;
  bool after_tool_ = false;  // the results are still open
  bool any_call_ = false, any_result_ = false;
};

}  // namespace

Result<std::string> EncodeV3(std::span<const Message> messages, const EncodeOptions& options) {
  return Encoder(false, messages, options).Encode();
}
Result<std::string> EncodeR1(std::span<const Message> messages, const EncodeOptions& options) {
  return Encoder(true, messages, options).Encode();
}

}  // namespace minke
