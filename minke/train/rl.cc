#include "minke/train/rl.h"

#include <algorithm>
#include <filesystem>

#include "minke/engine/engine.h"
#include "minke/train/checkpoint.h"
#include "minke/train/episode.h"
#include "minke/train/finite.h"
#include "minke/train/metrics.h"
#include "minke/train/rl_updater.h"
#include "minke/train/run_record.h"
#include "minke/train/seconds.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostPrompt = 16384;  // tokens

class Rl {
 public:
  Rl(const RlConfig& config, Parameters& parameters, const ModelFiles& files, const Tokenizer& tokenizer,
     const TemplateChoice& choice, const KernelSet& kernels, ThreadPool& pool, const RlHooks& hooks)
      : config_(config),
        parameters_(parameters),
        files_(files),
        tokenizer_(tokenizer),
        choice_(choice),
        kernels_(kernels),
        pool_(pool),
        hooks_(hooks) {}

  Result<RlResult> All();

 private:
  Status Open();
  Result<int64_t> Resume();
  Status RefreshReference(int64_t step);
  Status Step(int64_t step, RlReport& report);
  Status Save(int64_t step);
  void Warn(const std::string& text) const {
    if (hooks_.on_warning && !text.empty()) hooks_.on_warning(text);
  }

  const RlConfig& config_;
  Parameters& parameters_;
  const ModelFiles& files_;
  const Tokenizer& tokenizer_;
  const TemplateChoice& choice_;
  const KernelSet& kernels_;
  ThreadPool& pool_;
  const RlHooks& hooks_;
  int64_t context_ = 0;  // of engine and learner
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<EpisodeMaker> maker_;
  std::unique_ptr<RlUpdater> updater_;
  std::unique_ptr<Parameters> reference_;
  int64_t reference_step_ = 0;
  int64_t saved_reference_step_ = 0;  // of the last checkpoint
  int64_t saved_step_ = 0;            // likewise
  Json runs_;                         // run_record.h
};

Status Rl::Open() {
  const ModelConfig& model = parameters_.model()->config();
  MINKE_ASSIGN(maker_, EpisodeMaker::Create(config_, tokenizer_, choice_));
  context_ = std::min(model.max_position_embeddings, kMostPrompt + config_.max_tokens);
  EngineOptions options;
  options.model = parameters_.model();
  options.kernels = &kernels_;
  options.num_threads = pool_.num_threads();
  options.context = context_;
  options.max_batch_tokens = std::max<int64_t>(512, config_.max_sequences);
  options.max_sequences = config_.max_sequences;
  options.attention = config_.dense ? Attention::kDense : Attention::kDsa;
  options.speculation = Speculation::kOff;  // drafts do not pay in a crowd
  options.token_bytes = [this](TokenId token) { return tokenizer_.TokenBytes(token); };
  MINKE_ASSIGN(engine_, Engine::Open(options));
  MINKE_ASSIGN(updater_, RlUpdater::Create(config_, context_, parameters_, kernels_, pool_));
  return {};
}

Result<int64_t> Rl::Resume() {
  int64_t step = 0;
  if (config_.has_reference()) {  // the weights to start from, until they are renewed
    MINKE_ASSIGN(reference_, Parameters::Copy(*parameters_.model(), kernels_, Parameters::MtpCopies::kShared));
  }
  MINKE_ASSIGN(const RunRecord now, RunRecord::Of(files_, kernels_, pool_.num_threads()));
  ResumedRuns resumed;
  if (const auto folder = LatestTraining(config_.out)) {
    const auto is_this_run = [&](const Json& state) -> Status {
      if (!state.is_object() || !state.contains("rl") || !state.contains("step") ||
          !state["step"].is_number_integer() || !state.contains("reference_step") ||
          !state["reference_step"].is_number_integer())
        return Fail(Code::kDamaged, "{}/training.json: holds no state of minke rl", *folder);
      MINKE_TRY(CheckSameRun(state["rl"], config_.ToJson(), *folder));
      MINKE_ASSIGN(resumed, ResumeRuns(state.value("runs", Json()), now, state["step"], *folder));
      return {};
    };
    MINKE_ASSIGN(const Json state, LoadTraining(*folder, parameters_, updater_->optimizer(), is_this_run));
    RemoveOldTraining(config_.out);
    step = saved_step_ = state["step"];
    reference_step_ = saved_reference_step_ = state["reference_step"];
  } else {
    MINKE_ASSIGN(resumed, ResumeRuns(nullptr, now, 0, config_.out));
    MINKE_TRY(CheckWeights(config_.model, parameters_));
  }
  runs_ = resumed.runs;
  Warn(resumed.warning);
  if (!reference_) return step;
  if (reference_step_ > 0) {
    const std::string folder = fmt::format("{}/reference-{}", config_.out, reference_step_);
    MINKE_ASSIGN(const auto model, Model::Open(folder));
    MINKE_ASSIGN(reference_, Parameters::Copy(*model, kernels_, Parameters::MtpCopies::kShared));
  }
  MINKE_TRY(updater_->SetReference(*reference_));
  return step;
}

// The policy after `step` steps becomes the reference; older ones stay until no checkpoint names them.
Status Rl::RefreshReference(int64_t step) {
  const std::string folder = fmt::format("{}/reference-{}", config_.out, step);
  MINKE_TRY(SaveModel(folder, parameters_, files_));
  std::ranges::copy(parameters_.values(), reference_->values().begin());
  reference_->Publish();
  reference_step_ = step;
  return {};
}

// `step` counts from 0.
Status Rl::Step(int64_t step, RlReport& report) {
  const double cpu_start = CpuSeconds();
  MINKE_ASSIGN(std::vector<Episode> episodes, maker_->Make(*engine_, context_, step, hooks_.should_stop, report));
  const double start = WallSeconds();
  MINKE_TRY(updater_->Learn(episodes, step, report));
  report.learn_seconds = WallSeconds() - start;
  report.cpu_seconds = CpuSeconds() - cpu_start;
  return {};
}

// References before the one of the last checkpoint but one, which is kept, are needed no more.
Status Rl::Save(int64_t step) {
  const Json state = {{"rl", config_.ToJson()}, {"runs", runs_}, {"step", step}, {"reference_step", reference_step_}};
  MINKE_TRY(SaveTraining(config_.out, step, parameters_, updater_->optimizer(), files_, state));
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(config_.out, error)) {
    const std::string name = entry.path().filename().string();
    constexpr std::string_view kPrefix = "reference-";
    if (name.starts_with(kPrefix) && std::atoll(name.c_str() + kPrefix.size()) < saved_reference_step_)
      fs::remove_all(entry.path(), error);
  }
  saved_reference_step_ = reference_step_;
  saved_step_ = step;
  return {};
}

Result<RlResult> Rl::All() {
  const int64_t context = parameters_.model()->config().max_position_embeddings;
  if (config_.max_tokens >= context)
    return Fail(Code::kInvalidArgument,
                "max_tokens ({}) leaves no room for a prompt in the model's context of {}: make it smaller",
                config_.max_tokens, context);
  MINKE_ASSIGN(const RunLock lock, RunLock::Take(config_.out));
  MINKE_TRY(Open());
  RlResult result;
  MINKE_ASSIGN(result.resumed_at, Resume());
  MINKE_ASSIGN(MetricsWriter metrics,
               MetricsWriter::Open(config_.out + "/metrics.jsonl", result.resumed_at > 0 ? result.resumed_at : -1));
  int64_t step = result.resumed_at;
  while (step < config_.steps) {
    RlReport report;
    report.step = step + 1, report.total_steps = config_.steps;
    if (const Status done = Step(step, report); !done) {
      if (done.error().code != Code::kCancelled) return Fail(done.error());
      Warn(done.error().message);
      if (step > saved_step_) MINKE_TRY(Save(step));
      break;
    }
    ++step;
    result.on_policy_max_abs_diff = std::max(result.on_policy_max_abs_diff, report.on_policy_max_abs_diff);
    if (reference_ && config_.reference_every > 0 && step % config_.reference_every == 0)
      MINKE_TRY(RefreshReference(step));
    MINKE_TRY(WriteRlMetrics(config_, report, metrics));
    if (hooks_.on_step) hooks_.on_step(report);
    const bool stop = hooks_.should_stop && hooks_.should_stop();
    if (stop || step >= config_.steps || step % config_.checkpoint_every == 0) MINKE_TRY(Save(step));
    if (stop) break;
  }
  result.steps = step;
  result.finished = step >= config_.steps;
  if (!result.finished) return result;
  MINKE_TRY(SaveModel(config_.out + "/model", parameters_, files_));
  return result;
}

}  // namespace

Result<RlResult> TrainByReward(const RlConfig& config, Parameters& parameters, const ModelFiles& files,
                               const Tokenizer& tokenizer, const TemplateChoice& choice, const KernelSet& kernels,
                               ThreadPool& pool, const RlHooks& hooks) {
  return Rl(config, parameters, files, tokenizer, choice, kernels, pool, hooks).All();
}

}  // namespace minke
