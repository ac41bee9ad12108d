// minke train: the stages of a configuration file, from random weights or a model to a model.
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "minke/cli/command.h"
#include "minke/cli/signals.h"
#include "minke/cli/terminal.h"
#include "minke/cli/training.h"
#include "minke/train/dashboard.h"

namespace minke {
namespace {

struct TrainFlags {
  std::string config;
  std::optional<int> dashboard;
  bool json = false;
};

constexpr int64_t kReportEvery = 50;  // steps between lines of facts

Status Run(const TrainFlags& flags, CliContext& context) {
  MINKE_ASSIGN(const TrainConfig config, ReadTrainConfig(flags.config));
  std::unique_ptr<Dashboard> dashboard;
  if (flags.dashboard) {
    MINKE_ASSIGN(dashboard, Dashboard::Start(*flags.dashboard, "train", config.out, config.out + "/metrics.jsonl"));
    context.Warn("dashboard: " + dashboard->url());
  }
  const SignalGuard signals;
  Progress progress("training", "tokens", !context.quiet);
  double tokens = 0, seconds = 0, last_loss = std::numeric_limits<double>::quiet_NaN();
  int64_t steps = 0;
  TrainHooks hooks;
  std::map<const StageConfig*, DataCounts> data;  // what each stage has left out
  hooks.on_step = [&](const StepReport& r) {
    data[r.stage] = r.data;
    tokens += static_cast<double>(r.tokens), seconds += r.seconds;
    last_loss = r.loss;
    if (dashboard) dashboard->Update({r.stage->name(), r.step, r.total_steps, r.tokens, r.seconds});
    // Steps to come have about the tokens of those seen so far.
    const double mean = tokens / static_cast<double>(++steps);
    progress.Update(tokens, tokens + mean * static_cast<double>(r.total_steps - r.step));
    if (r.step % kReportEvery != 0 && r.step != r.total_steps && r.step != 1) return;
    progress.Clear();
    std::string losses;  // those that the stage has
    for (const auto& [name, loss] : {std::pair("loss", r.loss), std::pair("mtp", r.mtp_loss)})
      if (std::isfinite(loss)) losses += fmt::format("{} {:.4f}, ", name, loss);
    if (r.stage->trains_indexer()) losses += fmt::format("indexer KL {:.4f}, ", r.indexer_kl);
    context.Note(fmt::format("{} {}/{}: {}norm {:.3f}, lr {:.2e}, {:.0f} tokens/s", r.stage->name(), r.step,
                             r.total_steps, losses, r.norm > 0 ? r.norm : r.indexer_norm, r.lr,
                             static_cast<double>(r.tokens) / r.seconds));
  };
  hooks.should_stop = [] { return SignalGuard::Raised(); };
  const auto warn = [&](const std::string& text) {
    progress.Clear();
    context.Warn(text);
  };
  MINKE_ASSIGN(const TrainResult result, RunTraining(config, context.isa, context.ThreadCount(), warn, hooks));
  progress.Clear();
  for (const auto& [stage, counts] : data)
    if (counts.bad_lines + counts.dropped > 0)
      context.Warn(fmt::format("{}: {} bad lines were skipped, {} documents longer than a sequence left out",
                               stage->name(), counts.bad_lines, counts.dropped));
  if (!result.finished)
    return Fail(Code::kCancelled, "stopped after {} of {} steps; the same command goes on from there", result.steps,
                config.total_steps());
  const std::string model = config.out + "/model";
  if (flags.json)
    return context.out.WriteLine(DumpJson(Json{{"version", 1},
                                               {"steps", result.steps},
                                               {"resumed_at", result.resumed_at},
                                               {"tokens", tokens},  // since resumed_at
                                               {"seconds", seconds},
                                               {"loss", std::isfinite(last_loss) ? Json(last_loss) : Json()},
                                               {"model", model}}));
  if (steps == 0) return context.out.WriteLine(fmt::format("all {} steps were done: {}", result.steps, model));
  const std::string done = result.resumed_at > 0 ? fmt::format("{} steps, {} of them now", result.steps, steps)
                                                 : fmt::format("{} steps", result.steps);
  return context.out.WriteLine(fmt::format("{}: {:.0f} tokens in {:.1f} s: {}", done, tokens, seconds, model));
}

}  // namespace

void AddTrainCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<TrainFlags>();
  FlagSet verb = AddVerb(program, context, "train",
                         "Train a model by the stages of a configuration file; an interrupted run goes on",
                         [flags, &context] { return Run(*flags, context); });
  verb.Required("CONFIG", flags->config, "TOML file: out, model or init, and [[stage]]s (docs/training.md)");
  verb.Port("--dashboard", flags->dashboard, "Show the run's curves on a page at 127.0.0.1; 0: any free port");
  verb.Switch("--json", flags->json, "Print the facts as one JSON object");
}

}  // namespace minke
