// minke template encode|parse: messages -> prompt and completion -> message, one JSON object a line.
#include <iostream>
#include <memory>

#include "minke/cli/command.h"
#include "minke/cli/json_lines.h"
#include "minke/text/chat.h"
#include "minke/text/chat_parser.h"

namespace minke {
namespace {

struct TemplateFlags {
  std::string format;
  bool tolerant = false;
};

// An absent mode is an error where the format has one; V3 has none.
Result<ThinkingMode> ModeOf(const PromptJson& request, ChatFormat format) {
  const PromptJson* mode = request.Find("thinking_mode");
  if (!mode && format != ChatFormat::kV32) return ThinkingMode::kChat;
  if (!mode || !mode->is_string()) return Fail(Code::kInvalidArgument, "the line needs a \"thinking_mode\"");
  return ParseThinkingMode(mode->text());
}

// Sets *value if `object` has a boolean of this name.
Status ReadBool(const PromptJson* object, std::string_view name, bool* value) {
  const PromptJson* field = object ? object->Find(name) : nullptr;
  if (!field || field->is_null()) return {};
  if (!field->is_bool()) return Fail(Code::kInvalidArgument, "{} is not true or false", name);
  if (value) *value = field->boolean();
  return {};
}

Result<std::string> EncodeLine(ChatFormat format, std::string_view line) {
  MINKE_ASSIGN(const PromptJson request, PromptJson::Parse(line, "the line"));
  const PromptJson* list = request.Find("messages");
  if (!list) return Fail(Code::kInvalidArgument, "the line needs a list \"messages\"");
  MINKE_ASSIGN(const std::vector<Message> messages, MessagesFromJson(*list));

  EncodeOptions options;
  MINKE_ASSIGN(options.thinking_mode, ModeOf(request, format));
  MINKE_TRY(ReadBool(&request, "add_generation_prompt", &options.add_generation_prompt));
  const PromptJson* more = request.Find("options");
  if (more && !more->is_null() && !more->is_object()) return Fail(Code::kInvalidArgument, "options is not an object");
  MINKE_TRY(ReadBool(more, "add_generation_prompt", &options.add_generation_prompt));
  MINKE_TRY(ReadBool(more, "add_default_bos_token", &options.add_default_bos_token));
  MINKE_TRY(ReadBool(more, "opens_think", &options.opens_think));
  MINKE_TRY(ReadBool(more, "drop_thinking", nullptr));  // the prompt is the same either way
  std::vector<Message> before;
  if (const PromptJson* earlier = more ? more->Find("context") : nullptr; earlier && !earlier->is_null()) {
    auto parsed = MessagesFromJson(*earlier);
    if (!parsed) return Fail(Code::kInvalidArgument, "context: {}", parsed.error().message);
    before = std::move(*parsed);
  }
  options.context = before;
  MINKE_ASSIGN(const std::string prompt, EncodeChat(format, messages, options));
  std::string out = "{\"prompt\": ";
  AppendJsonString(out, prompt);
  return out += "}";
}

Result<std::string> ParseLine(ChatFormat format, bool tolerant, std::string_view line) {
  MINKE_ASSIGN(const PromptJson request, PromptJson::Parse(line, "the line"));
  const PromptJson* completion = request.Find("completion");
  if (!completion || !completion->is_string())
    return Fail(Code::kInvalidArgument, "the line needs a string \"completion\"");
  MINKE_ASSIGN(const ThinkingMode mode, ModeOf(request, format));
  if (!tolerant) {
    MINKE_ASSIGN(const Message message, ParseCompletion(format, completion->text(), mode));
    return "{\"message\": " + AnswerToJson(message) + "}";
  }
  const TolerantMessage result = ParseTolerantly(format, completion->text(), mode, /*cut=*/false);
  std::string out = "{\"message\": " + AnswerToJson(result.message);
  if (!result.problem.empty()) {
    out += ", \"problem\": ";
    AppendJsonString(out, result.problem);
  }
  return out += "}";
}

Status EachLine(CliContext& context, const std::function<Result<std::string>(std::string_view)>& answer) {
  return ForEachJsonLine(std::cin, answer, [&](std::string_view line) { return context.out.WriteLine(line); });
}

}  // namespace

void AddTemplateCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<TemplateFlags>();
  FlagSet verb = program.Verbs("template", "Messages to a prompt, or a completion to a message, as JSON lines");
  const auto add = [&](const char* name, const char* description, auto answer) {
    FlagSet action = AddVerb(verb, context, name, description, [flags, &context, answer]() -> Status {
      if (flags->format.empty())
        return Fail(Code::kInvalidArgument, "template: no format given: --format v32, v3, r1 or v31");
      MINKE_ASSIGN(const ChatFormat format, ParseChatFormat(flags->format));
      return EachLine(context, [&](std::string_view line) { return answer(format, line); });
    });
    action.Text("--format", flags->format, "v32, v3, r1 or v31");
    return action;
  };
  add("encode", "Read {\"messages\": […], \"thinking_mode\": …, \"options\": {…}}, write {\"prompt\": …}",
      [](ChatFormat format, std::string_view line) { return EncodeLine(format, line); });
  add("parse", "Read {\"completion\": …, \"thinking_mode\": …}, write {\"message\": …}",
      [flags](ChatFormat format, std::string_view line) { return ParseLine(format, flags->tolerant, line); })
      .Switch("--tolerant", flags->tolerant, "Never an error: what breaks the format comes back as content");
}

}  // namespace minke
