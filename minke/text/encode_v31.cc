// DeepSeek-V3.1 and V3.2-Exp: one model that thinks or not, told by the first words of its turn.
#include "minke/text/chat.h"
#include "minke/text/markers.h"

namespace minke {
namespace {

using namespace markers;  // NOLINT: the names of the format

constexpr std::string_view kReminder = R"(
IMPORTANT: ALWAYS adhere to this exact format for tool use:
<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>tool_call_arguments<｜tool▁call▁end｜>{additional_tool_calls}<｜tool▁calls▁end｜>

Where:
- `tool_call_name` must be an exact match to one of the available tools
- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema
- For multiple tool calls, chain them directly without separators or spaces
)";

void AppendTools(std::string& out, const std::vector<PromptJson>& tools) {
  out += "## Tools\nYou have access to the following tools:\n";
  for (const PromptJson& tool : tools) {
    const PromptJson* name = tool.Find("name");
    const PromptJson* description = tool.Find("description");
    const PromptJson* parameters = tool.Find("parameters");
    out += "\n### " + (name ? name->text() : "") + "\nDescription: ";
    if (description && description->is_string()) out += description->text();
    out += "\n\nParameters: " + (parameters ? parameters->Dump() : "{}") + "\n";
  }
  out += kReminder;
}

}  // namespace

Result<std::string> EncodeV31(std::span<const Message> messages, const EncodeOptions& options) {
  if (!options.context.empty()) return Fail(Code::kInvalidArgument, "context is for the format v32 only");
  std::string out(options.add_default_bos_token ? kBegin : "");
  std::string system;
  std::vector<PromptJson> tools;
  bool first = true;
  for (size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    if (message.response_format)
      return Fail(Code::kInvalidArgument, "messages[{}]: this template cannot show a response format", i);
    tools.insert(tools.end(), message.tools.begin(), message.tools.end());
    if (message.role != "system") continue;
    if (!first) system += "\n\n";
    first = false;
    system += message.content;
  }
  out += system;
  if (!tools.empty()) {
    if (!system.empty()) out += "\n\n";
    AppendTools(out, tools);
  }

  bool after_user = false;  // the assistant's turn is not opened yet
  bool after_tool = false;
  for (size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    if (message.role == "user") {
      out.append(kUser).append(message.content);
      after_user = true;
      after_tool = false;
    } else if (message.role == "assistant") {
      if (after_user) out.append(kAssistant).append(kThinkEnd);
      after_user = false;
      const size_t begin = out.size();
      std::string_view text = message.content;
      const size_t think_end = after_tool ? std::string_view::npos : text.find(kThinkEnd);
      if (think_end != std::string_view::npos) text.remove_prefix(think_end + kThinkEnd.size());
      out += text;
      after_tool = false;
      if (!message.tool_calls.empty()) {
        out += kToolCalls;
        for (const ToolCall& call : message.tool_calls)
          out.append(kToolCall).append(call.name).append(kToolSep).append(call.arguments).append(kToolCallEnd);
        out += kToolCallsEnd;
      }
      out += kEnd;
      if (options.turns) options.turns->push_back({i, begin, out.size()});
    } else if (message.role == "tool") {
      out.append(kToolOutput).append(message.content).append(kToolOutputEnd);
      after_user = false;
      after_tool = true;
    } else if (message.role != "system") {
      return Fail(Code::kInvalidArgument, "messages[{}]: the role \"{}\" has no place in this template", i,
                  message.role);
    }
  }
  if (options.add_generation_prompt && after_user)
    out.append(kAssistant).append(options.thinking_mode == ThinkingMode::kThinking ? kThink : kThinkEnd);
  return out;
}

}  // namespace minke
