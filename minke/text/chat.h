// Messages -> the text a model is prompted with. Pure functions; tokens come later (tokenizer.h), with markers
// recognised and no further begin token: the text has it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/text/markers.h"
#include "minke/text/prompt_json.h"

namespace minke {

enum class ChatFormat { kV32, kV3, kR1, kV31 };
enum class ThinkingMode { kChat, kThinking };

// Ends the thinking in an answer of every format that has any.
inline constexpr std::string_view kEndOfThinking = markers::kThinkEnd;

// "v32", "v3", "r1", "v31" and "chat", "thinking". Errors: kInvalidArgument with what is known.
Result<ChatFormat> ParseChatFormat(std::string_view name);
Result<ThinkingMode> ParseThinkingMode(std::string_view name);
std::string_view Name(ChatFormat format);

struct ToolCall {
  std::string id = {};  // the caller's; no template shows it
  std::string name = {};
  std::string arguments = {};  // JSON text of an object
  bool operator==(const ToolCall&) const = default;
};

struct Message {
  std::string role = {};     // system, user, assistant, tool; V3.2 also developer
  std::string content = {};  // null counts as empty
  std::string reasoning_content = {};
  std::vector<ToolCall> tool_calls = {};
  std::string tool_call_id = {};                   // no template shows it: results belong to calls by position
  std::vector<PromptJson> tools = {};              // `function` objects of the OpenAI form
  std::optional<PromptJson> response_format = {};  // a JSON schema
};

// What an assistant said, in the bytes of the prompt: after the marker that opens its turn, up to and with the marker
// that ends it. Where training on conversations has its targets.
struct AssistantTurn {
  size_t message = 0;  // its index
  size_t begin = 0, end = 0;
};

struct EncodeOptions {
  ThinkingMode thinking_mode = ThinkingMode::kChat;
  bool add_default_bos_token = true;
  // V3.2: messages that were encoded before; they are looked at and not rendered.
  std::span<const Message> context = {};
  // V3, R1 and V3.1: whether the assistant's turn is opened at the end. V3.2 always opens it.
  bool add_generation_prompt = true;
  // R1's later revisions open the reasoning in the prompt (TemplateChoice::opens_think).
  bool opens_think = false;
  // Filled in with the turns of `messages`, in order, where it is given.
  std::vector<AssistantTurn>* turns = nullptr;
};

// Errors: kInvalidArgument, starting with "messages[i]: ", for what the format refuses: an unknown role, a tool result
// without a call, arguments that are no JSON object, tools where the template has no place for them.
Result<std::string> EncodeChat(ChatFormat format, std::span<const Message> messages, const EncodeOptions& options);

// `messages` in the form of an OpenAI request. Content may be null or a list of text parts; both `reasoning_content`
// and `reasoning` are read; arguments may be JSON text or an object. Errors: kInvalidArgument, naming the field.
Result<std::vector<Message>> MessagesFromJson(const PromptJson& messages);
// The same back, on one line, with the fields that hold something: MessagesFromJson gives equal messages.
std::string MessagesToJson(std::span<const Message> messages);
// One parsed answer in that form, with content, reasoning_content and tool_calls also where they are empty.
std::string AnswerToJson(const Message& answer);
// The list `tools` of an OpenAI request.
Result<std::vector<PromptJson>> ToolsFromJson(const PromptJson& tools, std::string_view where);

// Where a request's tools go: on the first message if that is a system message, else on an empty system message before.
void AttachTools(std::vector<Message>& messages, std::vector<PromptJson> tools);

// What one format does; EncodeChat picks. (encode_v32.cc, encode_v3.cc, encode_v31.cc)
Result<std::string> EncodeV32(std::span<const Message> messages, const EncodeOptions& options);
Result<std::string> EncodeV3(std::span<const Message> messages, const EncodeOptions& options);
Result<std::string> EncodeR1(std::span<const Message> messages, const EncodeOptions& options);
Result<std::string> EncodeV31(std::span<const Message> messages, const EncodeOptions& options);

}  // namespace minke
