#include "minke/cli/lab_train.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "minke/base/file.h"
#include "minke/cli/signals.h"
#include "minke/cli/training.h"

namespace minke {
namespace {

constexpr int64_t kMaxMetricsBytes = int64_t{256} << 20;
constexpr int64_t kNotes = 5;  // of a run

Result<std::vector<Json>> ReadMetrics(const std::string& path) {
  MINKE_ASSIGN(const std::string text, ReadFile(path, kMaxMetricsBytes));
  std::vector<Json> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    MINKE_ASSIGN(Json line, ParseJson(std::string_view(text).substr(begin, end - begin), path));
    lines.push_back(std::move(line));
    begin = end + 1;
  }
  return lines;
}

double NumberOf(const Json& line, const char* key) {
  return line.contains(key) && line[key].is_number() ? line[key].get<double>() : 0;
}

double Sum(std::span<const Json> lines, const char* key) {
  double sum = 0;
  for (const Json& line : lines) sum += NumberOf(line, key);
  return sum;
}

void Note(bool quiet, const std::string& text) {
  if (!quiet) fmt::print(stderr, "minke: lab: {}\n", text);
}

bool IsNoted(int64_t step, int64_t total) { return step == total || step % std::max<int64_t>(1, total / kNotes) == 0; }

}  // namespace

Result<Json> LabTrain(TrainConfig config, const std::string& isa, bool quiet, const std::string& name,
                      const LabWork& work) {
  config.out = work.folder + "/run";
  InstallSignals();  // a checkpoint before the end
  const SignalGuard signals;
  TrainHooks hooks;
  hooks.on_step = [&](const StepReport& r) {
    if (!IsNoted(r.step, r.total_steps)) return;
    std::string losses = std::isfinite(r.loss) ? fmt::format("loss {:.3f}", r.loss) : "";
    if (r.stage->trains_indexer())
      losses += fmt::format("{}indexer KL {:.3f}", losses.empty() ? "" : ", ", r.indexer_kl);
    Note(quiet, fmt::format("{}: {} {}/{}, {}, {:.0f} tokens/s", name, r.stage->name(), r.step, r.total_steps, losses,
                            static_cast<double>(r.tokens) / r.seconds));
  };
  hooks.should_stop = [] { return SignalGuard::Raised(); };
  MINKE_ASSIGN(const TrainResult run, RunTraining(config, isa, work.threads, [](const std::string&) {}, hooks));
  if (!run.finished) return Fail(Code::kCancelled, "stopped");
  MINKE_ASSIGN(const std::vector<Json> metrics, ReadMetrics(config.out + "/metrics.jsonl"));
  const auto last = std::span(metrics).last(std::max<size_t>(1, metrics.size() / 10));
  return Json{{"steps", run.steps},
              {"tokens", Sum(metrics, "tokens")},
              {"cpu_seconds", Sum(metrics, "cpu_seconds")},
              {"loss", Sum(last, "loss") / static_cast<double>(last.size())}};
}

Result<Json> LabReinforce(RlConfig config, const std::string& isa, bool quiet, const std::string& name,
                          const LabWork& work) {
  config.out = work.folder + "/run";
  InstallSignals();  // a checkpoint before the end
  const SignalGuard signals;
  RlHooks hooks;
  hooks.on_step = [&](const RlReport& r) {
    if (IsNoted(r.step, r.total_steps))
      Note(quiet,
           fmt::format("{}: step {}/{}, right {:.1f} %, thinking {:.0f} tokens, {:.1f} s", name, r.step, r.total_steps,
                       100 * r.all.accuracy, r.all.think_tokens, r.rollout_seconds + r.learn_seconds));
  };
  hooks.should_stop = [] { return SignalGuard::Raised(); };
  MINKE_ASSIGN(const RlResult run, RunReinforcement(config, isa, work.threads, [](const std::string&) {}, hooks));
  if (!run.finished) return Fail(Code::kCancelled, "stopped");
  MINKE_ASSIGN(const std::vector<Json> metrics, ReadMetrics(config.out + "/metrics.jsonl"));
  Json curve = {{"accuracy", Json::array()}, {"think_tokens", Json::array()}, {"cpu_seconds", Json::array()}};
  double cpu = 0, difference = 0;
  for (const Json& line : metrics) {
    cpu += NumberOf(line, "cpu_seconds");
    difference = std::max(difference, NumberOf(line, "on_policy_max_abs_diff"));
    curve["accuracy"].push_back(NumberOf(line, "accuracy"));
    curve["think_tokens"].push_back(NumberOf(line, "think_tokens"));
    curve["cpu_seconds"].push_back(cpu);
  }
  return Json{{"steps", run.steps}, {"cpu_seconds", cpu}, {"on_policy_max_abs_diff", difference}, {"curve", curve}};
}

void LabDropCheckpoints(const LabWork& work) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<fs::path> old;
  for (const auto& entry : fs::directory_iterator(work.folder + "/run", error))
    if (entry.path().filename().string().starts_with("step-")) old.push_back(entry.path());
  for (const fs::path& path : old) fs::remove_all(path, error);
}

}  // namespace minke
