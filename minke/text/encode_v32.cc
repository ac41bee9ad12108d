// DeepSeek-V3.2's prompt, which the checkpoint brings no template for. Thinking of earlier turns disappears: reasoning
// is shown only after the last user or developer message, so a tool loop keeps all of it and a new question none.
#include "minke/text/chat.h"
#include "minke/text/markers.h"

namespace minke {
namespace {

using namespace markers;  // NOLINT: the names of the format

constexpr std::string_view kToolsHead = R"(## Tools

You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a "<｜DSML｜function_calls>" block like the following as part of your reply to the user:
<｜DSML｜function_calls>
<｜DSML｜invoke name="$FUNCTION_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$FUNCTION_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜function_calls>

String and scalar parameters should be specified as is without any escaping or quotes, while lists and objects should use JSON format. The "string" attribute should be set to "true" for string type parameters and "false" for other types (numbers, booleans, arrays, objects).

If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking block. Here is an example:

<｜DSML｜function_calls>
...
</｜DSML｜function_calls>

<function_results>
...
</function_results>

<think>...thinking about results</think>

Here are the functions available in JSONSchema format:
<functions>
)";
constexpr std::string_view kResponseHead =
    "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n";

// Writes messages one after the other; sees the context and the messages as one list.
class Encoder {
 public:
  Encoder(std::span<const Message> messages, const EncodeOptions& options)
      : thinking_(options.thinking_mode == ThinkingMode::kThinking), turns_(options.turns) {
    for (const Message& message : options.context) all_.push_back(&message);
    for (const Message& message : messages) all_.push_back(&message);
    first_ = options.context.size();
    for (size_t i = 0; i < all_.size(); ++i)
      if (all_[i]->role == "user" || all_[i]->role == "developer") last_ = static_cast<int64_t>(i);
    if (options.add_default_bos_token && first_ == 0) out_ += kBegin;
  }

  Result<std::string> Encode() {
    for (size_t i = first_; i < all_.size(); ++i) {
      const Message& message = *all_[i];
      MINKE_TRY(CheckPlaces(i));
      if (message.role == "system") {
        out_ += message.content;
        ToolsAndFormat(message);
      } else if (message.role == "user") {
        out_.append(kUser).append(message.content).append(kAssistant);
        OpenTurn(static_cast<int64_t>(i) == last_);
      } else if (message.role == "developer") {
        MINKE_TRY(Developer(i));
      } else if (message.role == "assistant") {
        MINKE_TRY(Assistant(i));
      } else if (message.role == "tool") {
        MINKE_TRY(ToolResult(i));
      } else {
        return Wrong(i, fmt::format("the role \"{}\" is unknown", message.role));
      }
    }
    return std::move(out_);
  }

 private:
  tl::unexpected<Error> Wrong(size_t i, std::string_view what) const {
    if (i < first_) return Fail(Code::kInvalidArgument, "context[{}]: {}", i, what);
    return Fail(Code::kInvalidArgument, "messages[{}]: {}", i - first_, what);
  }

  // The format shows tools and a response format on system and developer messages, and calls on an assistant's. The
  // reference encoder drops them elsewhere; a caller would wonder why the model knows nothing of its tools.
  Status CheckPlaces(size_t i) const {
    const Message& message = *all_[i];
    const auto wrong = [&](std::string_view what, std::string_view where) {
      return Wrong(i, fmt::format("{} no place on {} {} message: {}", what, message.role == "assistant" ? "an" : "a",
                                  message.role, where));
    };
    if (message.role != "system" && message.role != "developer") {
      if (!message.tools.empty()) return wrong("tools have", "a system or developer message can have them");
      if (message.response_format) return wrong("a response format has", "a system or developer message can have it");
    }
    if (message.role != "assistant" && !message.tool_calls.empty())
      return wrong("tool_calls have", "only an assistant message can have them");
    return {};
  }

  // The first words of what the model says next: whether it thinks.
  void OpenTurn(bool current) { out_ += thinking_ && current ? kThink : kThinkEnd; }

  void ToolsAndFormat(const Message& message) {
    if (!message.tools.empty()) {
      out_.append("\n\n").append(kToolsHead);
      for (size_t i = 0; i < message.tools.size(); ++i) {
        if (i > 0) out_ += '\n';
        message.tools[i].AppendTo(out_);
      }
      out_ += "\n</functions>\n";
    }
    if (message.response_format) {
      out_.append("\n\n").append(kResponseHead);
      message.response_format->AppendTo(out_);
    }
  }

  Status Developer(size_t i) {
    const Message& message = *all_[i];
    if (message.content.empty()) return Wrong(i, "a developer message needs content");
    out_ += kUser;
    ToolsAndFormat(message);
    out_.append("\n\n# The user's message is: ").append(message.content).append(kAssistant);
    OpenTurn(static_cast<int64_t>(i) == last_);
    return {};
  }

  Status Assistant(size_t i) {
    const Message& message = *all_[i];
    const size_t begin = out_.size();
    if (thinking_ && static_cast<int64_t>(i) > last_) {
      if (message.reasoning_content.empty() && message.tool_calls.empty())
        return Wrong(i, "an assistant message of the current turn needs reasoning_content or tool_calls when thinking");
      out_.append(message.reasoning_content).append(kThinkEnd);
    }
    out_ += message.content;
    if (!message.tool_calls.empty()) {
      out_.append("\n\n").append(kCalls).append(">\n");
      for (size_t c = 0; c < message.tool_calls.size(); ++c) {
        if (c > 0) out_ += '\n';
        MINKE_TRY(Call(i, message.tool_calls[c]));
      }
      out_.append("\n").append(kCallsEnd).append(">");
    }
    out_ += kEnd;
    if (turns_) turns_->push_back({i - first_, begin, out_.size()});
    return {};
  }

  Status Call(size_t i, const ToolCall& call) {
    auto arguments = PromptJson::Parse(call.arguments, "the arguments of \"" + call.name + "\"");
    if (!arguments) return Wrong(i, arguments.error().message);
    if (!arguments->is_object()) return Wrong(i, "the arguments of \"" + call.name + "\" are not an object");
    out_.append(kInvoke).append(" name=\"").append(call.name).append("\">\n");
    bool first = true;
    for (const auto& [key, value] : arguments->members()) {
      if (!first) out_ += '\n';
      first = false;
      out_.append(kParameter).append(" name=\"").append(key).append("\" string=\"");
      out_ += value.is_string() ? "true\">" : "false\">";
      if (value.is_string()) {
        out_ += value.text();
      } else {
        value.AppendTo(out_);
      }
      out_.append(kParameterEnd).append(">");
    }
    out_.append("\n").append(kInvokeEnd).append(">");
    return {};
  }

  // Results belong to the calls of the assistant message before them, by position.
  Status ToolResult(size_t i) {
    if (i == first_ || all_[i - 1]->role != "tool") {  // the first of a group, or one that the context began
      caller_ = i;
      while (caller_ > 0 && all_[caller_]->role == "tool") --caller_;
    }
    const size_t caller = caller_;
    if (all_[caller]->role != "assistant" || all_[caller]->tool_calls.empty())
      return Wrong(i, "a tool result needs an assistant message with tool_calls before it");
    const size_t number = i - caller, calls = all_[caller]->tool_calls.size();
    if (number > calls) return Wrong(i, fmt::format("result {} of {} tool calls", number, calls));
    if (number == 1) out_ += "\n\n<function_results>";
    out_.append("\n<result>").append(all_[i]->content).append("</result>");
    if (number == calls) {
      out_ += "\n</function_results>\n\n";
      OpenTurn(static_cast<int64_t>(i) >= last_);
    }
    return {};
  }

  const bool thinking_;
  std::vector<AssistantTurn>* const turns_;
  std::vector<const Message*> all_;
  size_t first_ = 0;   // of the messages to render
  size_t caller_ = 0;  // whose calls the current group of tool results answers
  int64_t last_ = -1;  // the last user or developer message
  std::string out_;
};

}  // namespace

Result<std::string> EncodeV32(std::span<const Message> messages, const EncodeOptions& options) {
  return Encoder(messages, options).Encode();
}

}  // namespace minke
