// minke run: one answer.
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "minke/base/file.h"
#include "minke/base/json.h"
#include "minke/cli/answer.h"
#include "minke/cli/command.h"
#include "minke/cli/model_text.h"
#include "minke/cli/sampling_flags.h"
#include "minke/cli/signals.h"
#include "minke/cli/terminal.h"

namespace minke {
namespace {

constexpr int64_t kMaxPromptBytes = int64_t{256} << 20;

struct RunFlags : ModelFlags, SamplingFlags {
  std::vector<std::string> words;  // of the prompt
  std::string file, system;
  std::optional<bool> think;
  bool raw = false, json = false;
};

Result<std::string> ReadStdin() {
  std::string text;
  char block[1 << 16];
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, block, sizeof(block));
    if (n == 0) return text;
    if (n < 0 && errno != EINTR) return Fail(Code::kFailed, "cannot read standard input: {}", std::strerror(errno));
    if (n > 0) text.append(block, static_cast<size_t>(n));
    if (static_cast<int64_t>(text.size()) > kMaxPromptBytes) {
      return Fail(Code::kInvalidArgument, "standard input: more than {} MiB: shorten the prompt",
                  kMaxPromptBytes >> 20);
    }
  }
}

// From the arguments, else -f, else standard input, whose last newline is the shell's and not the prompt's.
Result<std::string> ReadPrompt(const RunFlags& flags) {
  std::string prompt;
  if (!flags.words.empty() && !(flags.words.size() == 1 && flags.words[0] == "-")) {
    if (!flags.file.empty())
      return Fail(Code::kInvalidArgument, "run: both PROMPT and -f {}: give one of them", flags.file);
    for (const std::string& word : flags.words) prompt += (prompt.empty() ? "" : " ") + word;
    return prompt;
  }
  if (!flags.file.empty() && flags.file != "-") {
    MINKE_ASSIGN(prompt, ReadFile(flags.file, kMaxPromptBytes));
  } else if (flags.words.empty() && flags.file.empty() && IsTerminal(STDIN_FILENO)) {
    return Fail(Code::kInvalidArgument, "run: no prompt: give it as an argument, with -f FILE or on standard input");
  } else {
    MINKE_ASSIGN(prompt, ReadStdin());
  }
  if (prompt.ends_with('\n')) prompt.pop_back();
  return prompt;
}

// With the begin token in front where the model asks for it and the text does not have it.
Result<std::vector<TokenId>> EncodeRaw(const ChatModel& chat, const std::string& text) {
  MINKE_ASSIGN(const bool adds_begin, AddsBeginToken(chat.path()));
  std::vector<TokenId> ids = chat.tokenizer().Encode(text);
  const std::optional<TokenId> begin = chat.config().bos_token_id;
  if (adds_begin && begin && (ids.empty() || ids[0] != *begin)) ids.insert(ids.begin(), *begin);
  return ids;
}

Status PrintJson(const ChatModel& chat, const RunFlags& flags, const AnswerRequest& request, const Answer& answer,
                 CliContext& context) {
  const RequestStats& stats = answer.stats;
  OrderedJson json;
  json["version"] = 1;
  json["model"] = chat.path().name;
  json["content"] = answer.message.content;
  if (request.thinking) json["reasoning_content"] = answer.message.reasoning_content;
  for (const ToolCall& call : answer.message.tool_calls) {
    OrderedJson entry;
    entry["name"] = call.name;
    entry["arguments"] = call.arguments;
    json["tool_calls"].push_back(entry);
  }
  json["finish_reason"] = answer.message.tool_calls.empty() ? FinishReasonName(answer.reason) : "tool_calls";
  json["usage"] = {{"prompt_tokens", stats.prompt_tokens},
                   {"completion_tokens", stats.generated_tokens},
                   {"total_tokens", stats.prompt_tokens + stats.generated_tokens}};
  json["timings"] = {
      {"prefill_s", stats.prefill_s}, {"decode_s", stats.decode_s}, {"tokens_per_s", TokensPerSecond(stats)}};
  json["attention"] = chat.attention();
  const double queries = static_cast<double>(std::max<int64_t>(1, stats.queries));
  json["selected_per_query"] = static_cast<double>(stats.selected_keys) / queries;
  json["visible_per_query"] = static_cast<double>(stats.visible_keys) / queries;
  json["mtp"] = DraftsAsJson(flags, stats.drafts, stats.accepted_drafts);
  if (stats.experts.needed > 0) json["experts"] = ExpertsAsJson(stats.experts);
  if (!request.raw) {
    json["template"] = std::string(Name(chat.choice().format));
    json["template_note"] = chat.choice().note;
  }
  json["mla"] = flags.mla;
  json["isa"] = chat.kernels().name;
  json["temperature"] = AsGiven(request.params.temperature);
  json["seed"] = answer.seed;
  return context.out.WriteLine(DumpJson(json));
}

Status Run(const RunFlags& flags, CliContext& context) {
  if (flags.raw && (flags.think || !flags.system.empty())) {
    return Fail(Code::kInvalidArgument, "run: --raw uses no template: leave out --think, --no-think and --system");
  }
  MINKE_TRY(flags.CheckGiven());  // before standard input is read
  MINKE_ASSIGN(const std::string prompt, ReadPrompt(flags));
  if (prompt.empty()) return Fail(Code::kInvalidArgument, "run: the prompt is empty: give a text");
  MINKE_ASSIGN(const auto chat, ChatModel::Open(flags, context));
  AnswerRequest request;
  request.raw = flags.raw;
  if (flags.raw) {
    MINKE_ASSIGN(request.prompt, EncodeRaw(*chat, prompt));
  } else {
    MINKE_ASSIGN(request.thinking, chat->ChooseThinking(flags.think));
    std::vector<Message> messages;
    if (!flags.system.empty()) messages.push_back(TextMessage("system", flags.system));
    messages.push_back(TextMessage("user", prompt));
    MINKE_ASSIGN(request.prompt, chat->Encode(messages, request.thinking));
  }
  MINKE_ASSIGN(request.params, MakeSamplingParams(flags, chat->path().folder, chat->config().vocab_size));
  if (request.thinking && !flags.stop_in_thinking) request.params.stop_after = kEndOfThinking;
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  MINKE_ASSIGN(request.params.max_tokens, AnswerLimit(flags, request.thinking, prompt_tokens, chat->context(),
                                                      chat->engine().MostTokens(prompt_tokens)));

  const SignalGuard guard;
  using Show = AnswerPrinter::Show;
  AnswerPrinter printer(context, flags.json ? Show::kNothing : context.quiet ? Show::kAnswerOnly : Show::kAll);
  MINKE_ASSIGN(const Answer answer, StreamAnswer(*chat, request, printer, context));
  if (flags.json) {
    MINKE_TRY(PrintJson(*chat, flags, request, answer, context));
  } else {
    context.Note(Facts(*chat, request, answer));
  }
  if (answer.reason == FinishReason::kCancelled) return Fail(Code::kCancelled, "{}", "");
  return {};
}

}  // namespace

void AddRunCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<RunFlags>();
  FlagSet verb = AddVerb(program, context, "run", "One answer", [flags, &context] { return Run(*flags, context); });
  AddModelFlags(verb, *flags);
  AddDraftFlags(verb, *flags);
  verb.Words("PROMPT", flags->words, "What to ask; several words are joined. None or -: standard input");
  verb.Text("-f,--file", flags->file, "Read the prompt from this file");
  AddSamplingFlags(verb, *flags);
  verb.Text("--system", flags->system, "System text before the prompt");
  verb.Switch("--think,!--no-think", flags->think, "Think first (default: where the model's format has it)");
  flags->think.reset();  // CLI11 sets what it binds; no flag must stay no wish
  verb.Switch("--raw", flags->raw,
              "No template: continue the text, markers recognised, begin token as tokenizer_config.json says");
  verb.Switch("--json", flags->json, "One JSON object instead of a stream");
}

}  // namespace minke
