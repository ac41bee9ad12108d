#include "minke/text/chat.h"

#include "minke/text/utf8_stream.h"

namespace minke {
namespace {

struct FormatName {
  ChatFormat format;
  std::string_view name;
};
constexpr FormatName kFormats[] = {
    {ChatFormat::kV32, "v32"}, {ChatFormat::kV3, "v3"}, {ChatFormat::kR1, "r1"}, {ChatFormat::kV31, "v31"}};

const PromptJson* Present(const PromptJson& object, std::string_view key) {
  const PromptJson* value = object.Find(key);
  return value && !value->is_null() ? value : nullptr;
}

Result<std::string> Text(const PromptJson* value, std::string_view where) {
  if (!value) return "";
  if (value->is_string()) return value->text();
  if (!value->is_array()) return Fail(Code::kInvalidArgument, "{} is not a text", where);
  std::string joined;
  for (const PromptJson& part : value->items()) {
    const PromptJson* type = part.Find("type");
    const PromptJson* text = part.Find("text");
    if (!text || !text->is_string() || (type && type->text() != "text"))
      return Fail(Code::kInvalidArgument, "{} has a part that is not text", where);
    joined += text->text();
  }
  return joined;
}

Result<ToolCall> CallFromJson(const PromptJson& json, const std::string& where) {
  const PromptJson* function = json.Find("function");
  const PromptJson* name = function ? function->Find("name") : nullptr;
  if (!name || !name->is_string()) return Fail(Code::kInvalidArgument, "{} has no function.name", where);
  ToolCall call;
  call.name = name->text();
  const PromptJson* arguments = function->Find("arguments");
  if (!arguments || !(arguments->is_string() || arguments->is_object()))
    return Fail(Code::kInvalidArgument, "{}.function.arguments is neither JSON text nor an object", where);
  call.arguments = arguments->is_string() ? arguments->text() : arguments->Dump();
  if (const PromptJson* id = json.Find("id"); id && id->is_string()) call.id = id->text();
  return call;
}

Result<Message> MessageFromJson(const PromptJson& json, const std::string& where) {
  if (!json.is_object()) return Fail(Code::kInvalidArgument, "{} is not an object", where);
  const PromptJson* role = json.Find("role");
  if (!role || !role->is_string()) return Fail(Code::kInvalidArgument, "{} has no role", where);
  Message message;
  message.role = role->text();
  MINKE_ASSIGN(message.content, Text(Present(json, "content"), where + ".content"));
  const PromptJson* reasoning = Present(json, "reasoning_content");
  if (!reasoning) reasoning = Present(json, "reasoning");
  MINKE_ASSIGN(message.reasoning_content, Text(reasoning, where + ".reasoning_content"));
  if (const PromptJson* calls = Present(json, "tool_calls")) {
    if (!calls->is_array()) return Fail(Code::kInvalidArgument, "{}.tool_calls is not a list", where);
    for (size_t i = 0; i < calls->items().size(); ++i) {
      MINKE_ASSIGN(ToolCall call, CallFromJson(calls->items()[i], fmt::format("{}.tool_calls[{}]", where, i)));
      message.tool_calls.push_back(std::move(call));
    }
  }
  if (const PromptJson* id = json.Find("tool_call_id"); id && id->is_string()) message.tool_call_id = id->text();
  if (const PromptJson* tools = Present(json, "tools")) {
    MINKE_ASSIGN(message.tools, ToolsFromJson(*tools, where + ".tools"));
  }
  if (const PromptJson* schema = Present(json, "response_format")) {
    if (!schema->is_object()) return Fail(Code::kInvalidArgument, "{}.response_format is not an object", where);
    if (!schema->members().empty()) message.response_format = *schema;
  }
  return message;
}

// `, "key": ` and the text in quotes; what a person or a model wrote may be broken UTF-8.
void AppendField(std::string& out, std::string_view key, std::string_view text) {
  out.append(", \"").append(key).append("\": ");
  AppendJsonString(out, LossyUtf8(text));
}

template <class List, class Append>
void AppendList(std::string& out, const List& list, Append append) {
  out += '[';
  for (size_t i = 0; i < list.size(); ++i) {
    if (i > 0) out += ", ";
    append(list[i]);
  }
  out += ']';
}

void AppendCall(std::string& out, const ToolCall& call) {
  out += R"({"type": "function")";
  if (!call.id.empty()) AppendField(out, "id", call.id);
  out += R"(, "function": {"name": )";
  AppendJsonString(out, LossyUtf8(call.name));
  AppendField(out, "arguments", call.arguments);
  out += "}}";
}

// `all_of_an_answer`: the four fields of an answer also where they hold nothing.
void AppendMessage(std::string& out, const Message& message, bool all_of_an_answer = false) {
  out += R"({"role": )";
  AppendJsonString(out, LossyUtf8(message.role));
  AppendField(out, "content", message.content);
  if (all_of_an_answer || !message.reasoning_content.empty())
    AppendField(out, "reasoning_content", message.reasoning_content);
  if (all_of_an_answer || !message.tool_calls.empty()) {
    out += R"(, "tool_calls": )";
    AppendList(out, message.tool_calls, [&](const ToolCall& call) { AppendCall(out, call); });
  }
  if (!message.tool_call_id.empty()) AppendField(out, "tool_call_id", message.tool_call_id);
  if (!message.tools.empty()) {
    out += R"(, "tools": )";
    AppendList(out, message.tools, [&](const PromptJson& function) {
      out += R"({"type": "function", "function": )";
      function.AppendTo(out);
      out += '}';
    });
  }
  if (message.response_format) {
    out += R"(, "response_format": )";
    message.response_format->AppendTo(out);
  }
  out += '}';
}

}  // namespace

std::string_view Name(ChatFormat format) {
  for (const FormatName& known : kFormats)
    if (known.format == format) return known.name;
  return "";
}

Result<ChatFormat> ParseChatFormat(std::string_view name) {
  for (const FormatName& known : kFormats)
    if (known.name == name) return known.format;
  return Fail(Code::kInvalidArgument, "the chat format \"{}\" is unknown: v32, v3, r1 or v31", name);
}

Result<ThinkingMode> ParseThinkingMode(std::string_view name) {
  if (name == "chat") return ThinkingMode::kChat;
  if (name == "thinking") return ThinkingMode::kThinking;
  return Fail(Code::kInvalidArgument, "the thinking mode \"{}\" is unknown: chat or thinking", name);
}

Result<std::string> EncodeChat(ChatFormat format, std::span<const Message> messages, const EncodeOptions& options) {
  switch (format) {
    case ChatFormat::kV3:
      return EncodeV3(messages, options);
    case ChatFormat::kR1:
      return EncodeR1(messages, options);
    case ChatFormat::kV31:
      return EncodeV31(messages, options);
    case ChatFormat::kV32:
      break;
  }
  return EncodeV32(messages, options);
}

Result<std::vector<PromptJson>> ToolsFromJson(const PromptJson& tools, std::string_view where) {
  if (!tools.is_array()) return Fail(Code::kInvalidArgument, "{} is not a list", where);
  std::vector<PromptJson> functions;
  for (size_t i = 0; i < tools.items().size(); ++i) {
    const PromptJson* function = tools.items()[i].Find("function");
    if (!function || !function->is_object())
      return Fail(Code::kInvalidArgument, "{}[{}] has no object \"function\"", where, i);
    functions.push_back(*function);
  }
  return functions;
}

Result<std::vector<Message>> MessagesFromJson(const PromptJson& messages) {
  if (!messages.is_array()) return Fail(Code::kInvalidArgument, "messages is not a list");
  std::vector<Message> all;
  for (size_t i = 0; i < messages.items().size(); ++i) {
    MINKE_ASSIGN(Message message, MessageFromJson(messages.items()[i], fmt::format("messages[{}]", i)));
    all.push_back(std::move(message));
  }
  return all;
}

std::string MessagesToJson(std::span<const Message> messages) {
  std::string out;
  AppendList(out, messages, [&](const Message& message) { AppendMessage(out, message); });
  return out;
}

std::string AnswerToJson(const Message& answer) {
  std::string out;
  AppendMessage(out, answer, /*all_of_an_answer=*/true);
  return out;
}

void AttachTools(std::vector<Message>& messages, std::vector<PromptJson> tools) {
  if (tools.empty()) return;
  if (messages.empty() || messages[0].role != "system") {
    Message system;
    system.role = "system";
    messages.insert(messages.begin(), std::move(system));
  }
  auto& all = messages[0].tools;
  all.insert(all.end(), std::make_move_iterator(tools.begin()), std::make_move_iterator(tools.end()));
}

}  // namespace minke
