// minke lab: the article, rerun on this machine.
#include <filesystem>

#include "minke/base/file.h"
#include "minke/cli/command.h"
#include "minke/cli/lab_data.h"
#include "minke/cli/lab_plan.h"
#include "minke/cli/lab_report.h"
#include "minke/cli/lab_results.h"
#include "minke/cli/signals.h"
#include "minke/kernels/kernel_set.h"

namespace minke {
namespace {

struct LabFlags {
  std::string out = "minke-lab", start, bench_model;
  std::vector<std::string> parts;
  std::optional<int64_t> seeds;
  int threads = 0;
  double scale = 1, usd_per_hour = 0.1;
  bool quick = false;
};

LabSetup SetupOf(const LabFlags& flags, const CliContext& context) {
  LabSetup setup;
  setup.out = std::filesystem::absolute(flags.out).lexically_normal().string();
  setup.start = flags.start.empty() && flags.quick ? BuiltInModel("nano-sft") : flags.start;
  setup.bench_model = flags.bench_model;
  setup.recipe = flags.quick ? QuickLabRecipe() : FullLabRecipe();
  setup.recipe.ScaleBy(flags.scale);
  setup.seeds = flags.seeds.value_or(flags.quick ? 1 : 3);
  if (!flags.parts.empty())
    setup.parts = {flags.parts.begin(), flags.parts.end()};
  else if (flags.quick)
    setup.parts = {"rl", "budget"};
  else
    setup.parts = {std::begin(kLabParts), std::end(kLabParts)};
  setup.usd_per_hour = flags.usd_per_hour;
  setup.isa = context.isa;
  setup.threads = flags.threads > 0 ? flags.threads : context.ThreadCount();
  setup.quiet = context.quiet;
  return setup;
}

std::string CommandOf(const LabFlags& flags) {
  std::string command = "minke lab";
  if (flags.quick) command += " --quick";
  if (flags.seeds) command += fmt::format(" --seeds {}", *flags.seeds);
  if (flags.scale != 1) command += fmt::format(" --scale {}", flags.scale);
  if (!flags.parts.empty()) command += fmt::format(" --parts {}", fmt::join(flags.parts, ","));
  if (!flags.start.empty()) command += " --start " + flags.start;
  return command;
}

Status Lab(const LabFlags& flags, CliContext& context) {
  MINKE_TRY(ChooseKernelSet(context.isa));
  const LabSetup setup = SetupOf(flags, context);
  MINKE_ASSIGN(const std::vector<LabJob> jobs, PlanLab(setup));
  std::error_code error;
  std::filesystem::create_directories(setup.out, error);
  if (error) return Fail(Code::kFailed, "{}: cannot be made: {}", setup.out, error.message());
  context.Note(fmt::format("lab: {} jobs on {} threads, in {}", jobs.size(), setup.threads, setup.out));

  const SignalGuard signals;
  LabWatcher watcher;
  watcher.started = [&](const LabJob& job, int job_threads) {
    context.Note(fmt::format("lab: {} begins, {} thread{}", job.name, job_threads, job_threads == 1 ? "" : "s"));
  };
  watcher.finished = [&](const LabJob& job, const LabResult& result, size_t done) {
    context.Note(fmt::format("lab: {}/{} {}: {}", done, jobs.size(), job.name,
                             result.reused ? "done before" : fmt::format("done in {:.1f} s", result.seconds)));
  };
  watcher.should_stop = [] { return SignalGuard::Raised(); };
  MINKE_ASSIGN(const auto results, RunLabJobs(setup.out, jobs, setup.threads, watcher));

  const Json json = CollectLabResults(setup, results);
  const std::string text = json.dump(2) + "\n", report = LabReport(json, CommandOf(flags));
  MINKE_TRY(WriteFileAtomic(setup.out + "/results.json", std::as_bytes(std::span(text))));
  MINKE_TRY(WriteFileAtomic(setup.out + "/report.html", std::as_bytes(std::span(report))));
  for (const auto& [number, claim] : json["claims"].items())
    if (const std::string measured = claim["measured"]; !measured.empty())
      MINKE_TRY(context.out.WriteLine(fmt::format("{} {}: {}", number, claim["verdict"].get<std::string>(), measured)));
  return context.out.WriteLine(setup.out + "/report.html");
}

}  // namespace

void AddLabCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<LabFlags>();
  FlagSet verb = AddVerb(program, context, "lab",
                         "Rerun DeepSeek-V3.2's recipe on this machine and write a report; an interrupted run goes on",
                         [flags, &context] { return Lab(*flags, context); });
  verb.Switch("--quick", flags->quick, "Reinforcement learning alone, from a trained model: under 5 minutes");
  verb.Text("--out", flags->out, "Folder for report.html, results.json and all raw data (default minke-lab)");
  verb.Choices("--parts", flags->parts, {std::begin(kLabParts), std::end(kLabParts)},
               "Some of parity, lookup, rl, budget, cost, mixed (default all; with --quick rl,budget)");
  verb.Number("--seeds", flags->seeds, 1, 100, "Runs of each arm (default 3; with --quick 1)");
  verb.Number("-t,--threads", flags->threads, 0, 1024, "Threads of all jobs together (default, and 0: all)");
  verb.Text("--start", flags->start,
            "Model that RL starts from (default: the one that the lab trains; with --quick nano-sft)");
  verb.Number("--scale", flags->scale, 0.0001, 100.0, "Factor on all steps, examples and problems (default 1)");
  verb.Text("--bench-model", flags->bench_model, "Model whose cost is measured (default: a random layer like V3.2's)");
  verb.Number("--cost", flags->usd_per_hour, 0.0001, 1e6, "USD an hour that the machine costs (default 0.1)");
}

}  // namespace minke
