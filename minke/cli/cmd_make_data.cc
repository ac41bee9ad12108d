// minke tasks and minke make-data: what tasks there are, and files of their problems and demonstrations.
#include "minke/base/file.h"
#include "minke/base/json.h"
#include "minke/cli/command.h"
#include "minke/cli/terminal.h"
#include "minke/train/make_data.h"

namespace minke {
namespace {

Status ListTasks(bool json, CliContext& context) {
  for (const TaskKind* kind : AllTasks()) {
    const OrderedJson line = {{"name", kind->name}, {"parameters", kind->parameters}, {"summary", kind->summary}};
    MINKE_TRY(
        context.out.Write(json ? DumpJson(line) + "\n"
                               : fmt::format("{:<26}{}\n", std::string(kind->name) + kind->parameters, kind->summary)));
  }
  return context.out.Flush();
}

struct MakeDataFlags {
  std::string task, searcher = "random", split = "train", out;
  int64_t count = 1000;
  std::optional<uint64_t> seed;
  bool problems = false;
};

Status MakeData(const MakeDataFlags& flags, CliContext& context) {
  MINKE_ASSIGN(const auto task, FindTask(flags.task));
  const uint64_t seed = flags.seed.value_or(1);
  const Split split = flags.split == "train" ? Split::kTrain : Split::kHeldOut;
  const Searcher searcher = flags.searcher == "guided" ? Searcher::kGuided : Searcher::kRandom;
  Progress progress("writing", "lines", !context.quiet && !flags.out.empty());
  const auto write_all = [&](const std::function<Status(std::string_view)>& write) -> Status {
    for (int64_t i = 0; i < flags.count; ++i) {
      const auto index = static_cast<uint64_t>(i);
      const std::string line = flags.problems ? DumpJson(ProblemLine(task->Make(seed, index, split)))
                                              : DemonstrationLine(*task, seed, index, split, searcher);
      MINKE_TRY(write(line + "\n"));
      progress.Update(static_cast<double>(i + 1), static_cast<double>(flags.count));
    }
    return {};
  };
  if (flags.out.empty()) {
    MINKE_TRY(write_all([&](std::string_view line) { return context.out.Write(line); }));
    return context.out.Flush();
  }
  MINKE_TRY(WriteFileAtomic(flags.out, [&](const AppendFn& append) {
    return write_all([&](std::string_view line) { return append(std::as_bytes(std::span(line))); });
  }));
  progress.Clear();
  context.Note(fmt::format("{} lines: {}", flags.count, flags.out));
  return {};
}

}  // namespace

void AddTasksCommand(FlagSet program, CliContext& context) {
  auto json = std::make_shared<bool>(false);
  FlagSet verb = AddVerb(program, context, "tasks", "The tasks that models are trained on and measured by",
                         [json, &context] { return ListTasks(*json, context); });
  verb.Switch("--json", *json, "One JSON object a line");
}

void AddMakeDataCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<MakeDataFlags>();
  FlagSet verb = AddVerb(program, context, "make-data", "Demonstrations of a task as JSON lines, for training",
                         [flags, &context] { return MakeData(*flags, context); });
  verb.Required("TASK", flags->task, "Name of a task, as in countdown or lookup:1024; minke tasks lists them");
  verb.Number("--count", flags->count, 1, int64_t{1} << 32, "Lines (default 1000)");
  verb.Number("--seed", flags->seed, 0, UINT64_MAX, "Same seed, same bytes (default 1)");
  verb.Choice("--searcher", flags->searcher, {"random", "guided"},
              "Who demonstrates: attempts at random, or distinct and near ones first (default random)");
  verb.Choice("--split", flags->split, {"train", "heldout"}, "Which problems (default train)");
  verb.Switch("--only-problems", flags->problems, "Problems without demonstrations, as eval --problems reads them");
  verb.Text("--out", flags->out, "Write to this file (default: standard output)");
}

}  // namespace minke
