// minke rl: reinforcement learning on tasks with verifiers, by GRPO.
#include "minke/cli/command.h"
#include "minke/cli/signals.h"
#include "minke/cli/terminal.h"
#include "minke/cli/training.h"
#include "minke/train/dashboard.h"

namespace minke {
namespace {

struct RlFlags {
  std::string config;
  std::optional<bool> check_on_policy;
  std::optional<int> dashboard;
  bool json = false;
};

Status Run(const RlFlags& flags, CliContext& context) {
  MINKE_ASSIGN(RlConfig config, ReadRlConfig(flags.config));
  if (flags.check_on_policy) config.check_on_policy = *flags.check_on_policy;
  std::unique_ptr<Dashboard> dashboard;
  if (flags.dashboard) {
    MINKE_ASSIGN(dashboard, Dashboard::Start(*flags.dashboard, "rl", config.out, config.out + "/metrics.jsonl"));
    context.Warn("dashboard: " + dashboard->url());
  }
  const SignalGuard signals;
  Progress progress("learning", "steps", !context.quiet);
  RlHooks hooks;
  hooks.on_step = [&](const RlReport& r) {
    progress.Clear();
    context.Note(fmt::format(
        "{}/{}: reward {:.3f}, right {:.1f} %, thinking {:.0f} tokens, forced {:.1f} %, on-policy "
        "difference {}, clipped {:.2f} %, masked {:.2f} %, norm {:.3f}, {:.1f} s + {:.1f} s",
        r.step, r.total_steps, r.all.reward, 100 * r.all.accuracy, r.all.think_tokens, 100 * r.all.forced,
        r.on_policy_max_abs_diff, 100 * r.clipped, 100 * r.masked, r.norm, r.rollout_seconds, r.learn_seconds));
    progress.Update(static_cast<double>(r.step), static_cast<double>(r.total_steps));
    if (dashboard)
      dashboard->Update({"rl", r.step, r.total_steps, r.tokens, r.rollout_seconds + r.judge_seconds + r.learn_seconds});
  };
  hooks.should_stop = [] { return SignalGuard::Raised(); };
  const auto warn = [&](const std::string& text) {
    progress.Clear();
    context.Warn(text);
  };
  MINKE_ASSIGN(const RlResult result, RunReinforcement(config, context.isa, context.ThreadCount(), warn, hooks));
  progress.Clear();
  if (!result.finished)
    return Fail(Code::kCancelled, "stopped after {} of {} steps; the same command goes on from there", result.steps,
                config.steps);
  if (flags.json)
    return context.out.WriteLine(DumpJson(Json{{"version", 1},
                                               {"steps", result.steps},
                                               {"resumed_at", result.resumed_at},
                                               {"on_policy_max_abs_diff", result.on_policy_max_abs_diff},
                                               {"model", config.out + "/model"}}));
  return context.out.WriteLine(fmt::format("{} steps, largest on-policy difference {}: {}/model", result.steps,
                                           result.on_policy_max_abs_diff, config.out));
}

}  // namespace

void AddRlCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<RlFlags>();
  FlagSet verb =
      AddVerb(program, context, "rl", "Reinforcement learning on tasks with verifiers, by a configuration file",
              [flags, &context] { return Run(*flags, context); });
  verb.Required("CONFIG", flags->config, "TOML file: out, model, steps and [[task]]s (docs/training.md)");
  verb.Switch("--check-on-policy,!--no-check-on-policy", flags->check_on_policy,
              "End the run if learner and rollout differ in a log-probability (default)");
  verb.Port("--dashboard", flags->dashboard, "Show the run's curves on a page at 127.0.0.1; 0: any free port");
  verb.Switch("--json", flags->json, "Print the facts as one JSON object");
}

}  // namespace minke
