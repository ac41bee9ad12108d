// minke eval: the share of a task's held-out problems that a model solves, and how.
#include <cmath>

#include "minke/base/file.h"
#include "minke/cli/chat_model.h"
#include "minke/cli/command.h"
#include "minke/cli/eval_report.h"
#include "minke/cli/sampling_flags.h"
#include "minke/cli/terminal.h"
#include "minke/train/evaluate.h"

namespace minke {
namespace {

constexpr int64_t kMaxProblemBytes = int64_t{256} << 20;

struct EvalFlags : ModelFlags {
  std::string task, problems, out, split = "heldout", think;
  int64_t limit = 400, max_tokens = 400, budget = 0, parallel = 64;
  float temperature = 0.6f;
  std::optional<uint64_t> seed;
  bool json = false;
};

Result<std::vector<Problem>> Problems(const EvalFlags& flags, const Task& task, uint64_t seed) {
  if (!flags.problems.empty()) {
    MINKE_ASSIGN(const std::string text, ReadFile(flags.problems, kMaxProblemBytes));
    return ReadProblems(task, text, flags.problems, flags.limit);
  }
  std::vector<Problem> problems;
  for (int64_t i = 0; i < flags.limit; ++i)
    problems.push_back(
        task.Make(seed, static_cast<uint64_t>(i), flags.split == "train" ? Split::kTrain : Split::kHeldOut));
  return problems;
}

std::string Percent(double share) { return std::isnan(share) ? "none" : fmt::format("{:.1f} %", 100 * share); }

std::string ReportText(const TaskResult& result, const std::string& what) {
  const TaskScore& s = result.score;
  std::string text = what + "\n";
  const auto row = [&](std::string_view name, const std::string& value) {
    text += fmt::format("  {:<20}{}\n", name, value);
  };
  row("accuracy", fmt::format("{} +- {:.1f}", Percent(s.accuracy()), 100 * s.standard_error()));
  row("thinking tokens", fmt::format("{:.1f}", s.think_tokens()));
  row("output tokens", fmt::format("{:.1f}", s.output_tokens()));
  row("right within",
      fmt::format("2 attempts {}, 4 {}, 8 {}", Percent(s.within(2)), Percent(s.within(4)), Percent(s.within(8))));
  row("attempts", fmt::format("{:.1f}, distinct {}", s.attempts(), Percent(s.distinct_attempts())));
  row("correct steps", Percent(s.correct_steps()));
  row("in the right format", Percent(s.formatted()));
  row("gave up", Percent(s.gave_up()));
  row("ended by itself", fmt::format("{}, closed by the budget {}", Percent(s.ended()), Percent(s.forced())));
  row("speed", fmt::format("{:.0f} tokens/s, {:.1f} s",
                           static_cast<double>(s.chosen_tokens()) / std::max(1e-9, result.seconds), result.seconds));
  return text;
}

OrderedJson ReportJson(const TaskResult& result, const EvalFlags& flags, const ChatModel& chat, bool thinking,
                       uint64_t seed, const std::string& task) {
  const TaskScore& s = result.score;
  OrderedJson json;
  json["version"] = 1;
  json["model"] = chat.path().name;
  json["task"] = task;
  json["split"] = flags.problems.empty() ? OrderedJson(flags.split) : OrderedJson(nullptr);
  json["problems"] = s.problems();
  json["temperature"] = AsGiven(flags.temperature);
  json["seed"] = seed;
  json["thinking"] = thinking;
  json["max_tokens"] = flags.max_tokens;
  json["budget"] = flags.budget > 0 ? OrderedJson(flags.budget) : OrderedJson(nullptr);
  json["attention"] = chat.attention();
  AppendScore(s, json);
  json["seconds"] = result.seconds;
  json["tokens_per_s"] = static_cast<double>(s.chosen_tokens()) / std::max(1e-9, result.seconds);
  return json;
}

Status Eval(const EvalFlags& flags, CliContext& context) {
  MINKE_TRY(flags.CheckGiven());
  MINKE_ASSIGN(const auto task, FindTask(flags.task));
  const uint64_t seed = flags.seed.value_or(1);
  MINKE_ASSIGN(const std::vector<Problem> problems, Problems(flags, *task, seed));
  MINKE_ASSIGN(const auto chat, ChatModel::Open(flags, context, flags.parallel));
  EvalOptions options;
  options.format = chat->choice().format, options.opens_think = chat->choice().opens_think;
  std::optional<bool> asked;
  if (!flags.think.empty()) asked = flags.think == "on";
  MINKE_ASSIGN(options.thinking, chat->ChooseThinking(asked));
  if (flags.budget > 0 && !options.thinking)
    return Fail(Code::kInvalidArgument, "eval: --budget limits the thinking, and --think is off");
  options.params.temperature = flags.temperature;
  options.params.seed = seed;
  options.think_budget = flags.budget;
  options.params.max_tokens =
      std::max(flags.max_tokens, flags.budget > 0 ? flags.budget + 1 + task->answer_tokens() : 0);
  Progress progress("answering", "problems", !context.quiet);
  const double total = static_cast<double>(problems.size());
  MINKE_ASSIGN(const TaskResult result,
               Evaluate(chat->engine(), chat->tokenizer(), *task, problems, options,
                        [&](size_t done) { progress.Update(static_cast<double>(done), total); }));
  progress.Clear();
  if (!flags.out.empty()) MINKE_TRY(WriteAnswers(flags.out, problems, result));
  if (flags.json)
    return context.out.WriteLine(DumpJson(ReportJson(result, flags, *chat, options.thinking, seed, task->name())));
  const std::string source = flags.problems.empty() ? (flags.split == "train" ? "training" : "held-out") : "given";
  const std::string limit = flags.budget > 0 ? fmt::format("thinking budget {}", flags.budget)
                                             : fmt::format("at most {} tokens", options.params.max_tokens);
  MINKE_TRY(context.out.Write(
      ReportText(result, fmt::format("{} on {}: {} {} problems, temperature {}, seed {}, {}", chat->path().name,
                                     task->name(), problems.size(), source, flags.temperature, seed, limit))));
  return context.out.Flush();
}

}  // namespace

void AddEvalCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<EvalFlags>();
  FlagSet verb = AddVerb(program, context, "eval", "Accuracy on a task's held-out problems, and how it is reached",
                         [flags, &context] { return Eval(*flags, context); });
  AddModelFlags(verb, *flags);
  AddDraftFlags(verb, *flags);
  verb.Required("TASK", flags->task, "Name of a task, as in countdown or lookup:1024; minke tasks lists them");
  verb.Number("--limit", flags->limit, 1, 1 << 24, "Problems (default 400)");
  verb.Text("--problems", flags->problems, "Take the problems from this file, one JSON object a line");
  verb.Choice("--split", flags->split, {"heldout", "train"}, "Which problems to make (default heldout)");
  verb.Number("--temp,--temperature", flags->temperature, 0.0f, kMaxTemperature,
              "0 takes the most likely token (default 0.6)");
  verb.Number("--seed", flags->seed, 0, UINT64_MAX, "Of problems and answers (default 1)");
  verb.Number("-n,--max-tokens", flags->max_tokens, 1, 1 << 24,
              "Most tokens of an answer, with thinking (default 400)");
  verb.Number("--budget", flags->budget, 1, 1 << 24,
              "Thinking tokens, after which it is closed; the answer then has what the task leaves it (24 tokens)");
  verb.Choice("--think", flags->think, {"on", "off"}, "Think first (default: where the model's format has it)");
  verb.Number("--parallel", flags->parallel, 1, 1 << 16, "Problems answered at once (default 64)");
  verb.Text("--out", flags->out, "Write every answer to this file, one JSON object a line");
  verb.Switch("--json", flags->json, "Print one JSON object");
}

}  // namespace minke
