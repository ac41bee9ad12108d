// Whatever a model writes: nothing crashes; a stream in any pieces gives what the whole gives; where the strict form
// accepts, the tolerant one agrees; and its calls always have arguments that a prompt can show again.
#include <cstdlib>
#include <string>

#include "minke/text/chat_parser.h"
#include "minke/text/stream_parser.h"
#include "minke/text/utf8_stream.h"

namespace {

using namespace minke;  // NOLINT: the whole file is about it

std::string Show(const Message& message) {
  std::string out = message.reasoning_content + '\x1F' + message.content;
  for (const ToolCall& call : message.tool_calls) out += '\x1F' + call.name + '\x1F' + call.arguments;
  return out;
}

bool AllJson(const Message& message) {
  for (const ToolCall& call : message.tool_calls) {
    const auto arguments = PromptJson::Parse(call.arguments, "arguments");
    if (!arguments || !arguments->is_object()) return false;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto format = static_cast<ChatFormat>(data[0] & 3);
  const ThinkingMode mode = data[0] & 4 ? ThinkingMode::kThinking : ThinkingMode::kChat;
  const std::string text = LossyUtf8({reinterpret_cast<const char*>(data) + 2, size - 2});

  const auto strict = ParseCompletion(format, text, mode);
  const TolerantMessage tolerant = ParseTolerantly(format, text, mode, (data[0] & 8) != 0);
  if (strict.has_value() != tolerant.problem.empty()) std::abort();
  if (!AllJson(tolerant.message)) std::abort();
  if (strict && AllJson(*strict) && Show(*strict) != Show(tolerant.message)) std::abort();

  StreamParser whole(format, mode), pieces(format, mode);
  whole.Push(text);
  whole.Finish();
  const size_t step = 1 + data[1] % 16;
  std::string given;
  for (size_t pos = 0; pos < text.size(); pos += step)
    given += pieces.Push(std::string_view(text).substr(pos, step)).content;
  given += pieces.Finish().content;
  if (Show(whole.message()) != Show(pieces.message()) || given != pieces.message().content) std::abort();

  if (format == ChatFormat::kV32 && !tolerant.message.tool_calls.empty()) {
    Message again = tolerant.message;
    again.role = "assistant";
    const std::vector<Message> messages = {std::move(again)};
    if (!EncodeChat(format, messages, {})) std::abort();
  }
  // The same bytes as the messages of a request.
  if (const auto json = PromptJson::Parse(text, "fuzz"))
    if (const auto messages = MessagesFromJson(*json)) (void)EncodeChat(format, *messages, {.thinking_mode = mode});
  return 0;
}
