#include "minke/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "minke/base/check.h"
#include "minke/model/learner.h"
#include "minke/train/checkpoint.h"
#include "minke/train/finite.h"
#include "minke/train/loss.h"
#include "minke/train/metrics.h"
#include "minke/train/run_record.h"
#include "minke/train/schedule.h"
#include "minke/train/seconds.h"

namespace minke {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// One forward pass's worth of documents.
struct MicroBatch {
  Sequence sequence;
  std::vector<LearnerItem> items;
  std::vector<TokenId> targets, mtp_targets;  // of the rows of both heads
  int64_t num_targets = 0, num_mtp_targets = 0;

  void Add(const Sequence& more);
  void Prepare();
};

void MicroBatch::Add(const Sequence& more) {
  sequence.tokens.insert(sequence.tokens.end(), more.tokens.begin(), more.tokens.end());
  sequence.loss.insert(sequence.loss.end(), more.loss.begin(), more.loss.end());
  sequence.lengths.insert(sequence.lengths.end(), more.lengths.begin(), more.lengths.end());
}

void MicroBatch::Prepare() {
  items.clear(), targets.clear(), mtp_targets.clear();
  int64_t first = 0;
  for (const int64_t length : sequence.lengths) {
    items.push_back({std::span(sequence.tokens).subspan(static_cast<size_t>(first), static_cast<size_t>(length))});
    const auto target = [&](int64_t i) {
      const auto at = static_cast<size_t>(first + i);
      return i < length && sequence.loss[at] != 0 ? sequence.tokens[at] : kNoTarget;
    };
    for (int64_t i = 0; i < length; ++i) targets.push_back(target(i + 1));
    for (int64_t i = 0; i + 1 < length; ++i) mtp_targets.push_back(target(i + 2));
    first += length;
  }
  num_targets = std::ssize(targets) - std::ranges::count(targets, kNoTarget);
  num_mtp_targets = std::ssize(mtp_targets) - std::ranges::count(mtp_targets, kNoTarget);
}

// A stage in progress.
class StageRun {
 public:
  StageRun(const StageConfig& stage, Parameters& parameters, AdamW& optimizer, Dataset data,
           std::unique_ptr<Learner> learner, const KernelSet& kernels, ThreadPool& pool)
      : stage_(stage),
        parameters_(parameters),
        optimizer_(optimizer),
        data_(std::move(data)),
        learner_(std::move(learner)),
        kernels_(kernels),
        pool_(pool) {}

  // The data of the next step. After an error the stream stands where it stood before.
  Status ReadBatch();
  // A step on it.
  Status Step(int64_t step, StepReport& report);
  Dataset& data() { return data_; }

 private:
  Status ReadSequences();
  void RunMicroBatch(MicroBatch& batch, StepReport& report);

  const StageConfig& stage_;
  Parameters& parameters_;
  AdamW& optimizer_;
  Dataset data_;
  std::unique_ptr<Learner> learner_;
  const KernelSet& kernels_;
  ThreadPool& pool_;
  std::vector<MicroBatch> batches_;
  int64_t rows_ = 0, targets_ = 0, mtp_targets_ = 0;
};

Status StageRun::ReadSequences() {
  const int64_t sequences = std::max<int64_t>(1, stage_.batch_tokens / stage_.sequence_tokens);
  const int64_t in_one = std::max<int64_t>(1, stage_.micro_tokens / stage_.sequence_tokens);
  Sequence sequence;
  for (int64_t i = 0; i < sequences; ++i) {
    if (i % in_one == 0) batches_.emplace_back();
    MINKE_TRY(data_.Next(stage_.sequence_tokens, sequence));
    batches_.back().Add(sequence);
  }
  return {};
}

Status StageRun::ReadBatch() {
  batches_.clear();
  rows_ = targets_ = mtp_targets_ = 0;
  const DataCursor before = data_.cursor();
  if (Status read = ReadSequences(); !read) {
    MINKE_CHECK(data_.Restore(before));
    return read;
  }
  for (MicroBatch& batch : batches_) {
    batch.Prepare();
    rows_ += std::ssize(batch.sequence.tokens);
    targets_ += batch.num_targets;
    mtp_targets_ += batch.num_mtp_targets;
  }
  return {};
}

void StageRun::RunMicroBatch(MicroBatch& batch, StepReport& report) {
  const bool model = stage_.trains_model(), mtp = stage_.mtp_weight > 0;
  const auto logits = learner_->Forward(batch.items, model);
  if (model) {
    const auto weights = [](std::span<const TokenId> targets, double weight) {
      std::vector<float> result;
      for (const TokenId target : targets) result.push_back(target == kNoTarget ? 0 : static_cast<float>(weight));
      return result;
    };
    report.loss += CrossEntropy(kernels_, pool_, logits, batch.targets,
                                weights(batch.targets, 1 / static_cast<double>(std::max<int64_t>(targets_, 1))));
    if (mtp) {
      const double weight = stage_.mtp_weight / static_cast<double>(std::max<int64_t>(mtp_targets_, 1));
      report.mtp_loss +=
          CrossEntropy(kernels_, pool_, learner_->MtpLogits(), batch.mtp_targets, weights(batch.mtp_targets, weight)) /
          stage_.mtp_weight;
    }
  }
  const double share = static_cast<double>(std::ssize(batch.sequence.tokens)) / static_cast<double>(rows_);
  const BackwardLosses losses = learner_->Backward(
      {.model = model,
       .indexer_weight = stage_.trains_indexer() ? static_cast<float>(1 / static_cast<double>(rows_)) : 0,
       .balance_weight = static_cast<float>(stage_.balance_weight * share)});
  report.indexer_kl += losses.indexer_kl / static_cast<double>(rows_);
  report.balance += losses.balance * share;
}

// `step` counts from 0 in the stage.
Status StageRun::Step(int64_t step, StepReport& report) {
  learner_->ClearGradients();
  learner_->ClearExpertLoads();
  for (MicroBatch& batch : batches_) RunMicroBatch(batch, report);
  const AdamW::Norms norms = optimizer_.NormsOf(learner_->gradients());
  if (!std::isfinite(report.loss + report.mtp_loss + report.indexer_kl + norms.model + norms.indexer))
    return Fail(Code::kFailed,
                "step {}: loss {}, of MTP {}, indexer KL {}, gradient norm {}: {}; the last checkpoint is as it was: "
                "lower the learning rate, or look at the data",
                report.step, report.loss, report.mtp_loss, report.indexer_kl, norms.model + norms.indexer,
                WhatIsNotFinite(parameters_, learner_->gradients()));
  const auto rate = [&](double peak) {
    const double end = stage_.lr > 0 ? peak * stage_.lr_end / stage_.lr : peak;
    return Schedule{peak, end, stage_.warmup_steps, stage_.decay_steps, stage_.steps}.At(step);
  };
  AdamW::Rates rates;
  rates.mtp = stage_.mtp_weight > 0;
  if (stage_.trains_model()) rates.model = report.lr = rate(stage_.lr);
  if (stage_.trains_indexer()) rates.indexer = rate(stage_.indexer_lr);
  if (!rates.model) report.lr = *rates.indexer;
  optimizer_.Update(learner_->gradients(), norms, rates);
  const auto loads = learner_->expert_loads();
  if (stage_.bias_speed > 0 && stage_.trains_model())
    UpdateRouterBias(parameters_, loads, static_cast<float>(stage_.bias_speed));

  report.tokens = rows_;
  report.data = data_.cursor().counts;
  report.norm = norms.model, report.indexer_norm = norms.indexer;
  if (!stage_.trains_model()) report.loss = kNone;
  if (stage_.mtp_weight <= 0 || !stage_.trains_model()) report.mtp_loss = kNone;
  for (int64_t layer = 0; layer < loads.dim(0); ++layer) {
    const auto load = loads[layer];
    int64_t sum = 0, most = 0;
    for (const int64_t count : load) sum += count, most = std::max(most, count);
    if (sum > 0)
      report.expert_imbalance =
          std::max(report.expert_imbalance, static_cast<double>(most * std::ssize(load)) / static_cast<double>(sum));
  }
  return {};
}

class Run {
 public:
  Run(const TrainConfig& config, Parameters& parameters, const ModelFiles& files, const DocumentEncoder& encoder,
      const KernelSet& kernels, ThreadPool& pool, const TrainHooks& hooks)
      : config_(config),
        parameters_(parameters),
        files_(files),
        encoder_(encoder),
        kernels_(kernels),
        pool_(pool),
        hooks_(hooks),
        optimizer_(parameters, kernels, pool, config.adamw) {}

  Result<TrainResult> All();

 private:
  Result<int64_t> Resume();
  Result<std::unique_ptr<StageRun>> BeginStage(size_t index);
  Status Save(int64_t step, size_t stage, StageRun& run);
  Status WriteMetrics(MetricsWriter& metrics, const StepReport& r);

  const TrainConfig& config_;
  Parameters& parameters_;
  const ModelFiles& files_;
  const DocumentEncoder& encoder_;
  const KernelSet& kernels_;
  ThreadPool& pool_;
  const TrainHooks& hooks_;
  AdamW optimizer_;
  Json runs_;    // run_record.h
  Json cursor_;  // of the checkpoint that was loaded
  size_t cursor_stage_ = 0;
};

// Steps that are done.
Result<int64_t> Run::Resume() {
  MINKE_ASSIGN(const RunRecord now, RunRecord::Of(files_, kernels_, pool_.num_threads()));
  const auto folder = LatestTraining(config_.out);
  if (!folder) {
    MINKE_ASSIGN(const ResumedRuns resumed, ResumeRuns(nullptr, now, 0, config_.out));
    runs_ = resumed.runs;
    MINKE_TRY(CheckWeights(config_.model, parameters_));
    return 0;
  }
  ResumedRuns resumed;
  const auto is_this_run = [&](const Json& state) -> Status {
    const auto has = [&](const char* key) { return state.is_object() && state.contains(key); };
    if (!has("config") || !has("step") || !has("stage") || !has("cursor") || !state["step"].is_number_integer() ||
        !state["stage"].is_number_integer())
      return Fail(Code::kDamaged, "{}/training.json: holds no state of minke train", *folder);
    Json made_with = state["config"];
    // Until the first bad line both do the same; that one has just ended the run.
    if (config_.skip_bad_lines && made_with.is_object()) made_with["skip_bad_lines"] = true;
    MINKE_TRY(CheckSameRun(made_with, config_.ToJson(), *folder));
    MINKE_ASSIGN(resumed, ResumeRuns(state.value("runs", Json()), now, state["step"], *folder));
    return {};
  };
  MINKE_ASSIGN(const Json state, LoadTraining(*folder, parameters_, optimizer_, is_this_run));
  RemoveOldTraining(config_.out);
  runs_ = resumed.runs;
  if (hooks_.on_warning && !resumed.warning.empty()) hooks_.on_warning(resumed.warning);
  cursor_ = state["cursor"];
  cursor_stage_ = state["stage"];
  return state["step"].get<int64_t>();
}

Result<std::unique_ptr<StageRun>> Run::BeginStage(size_t index) {
  const StageConfig& stage = config_.stages[index];
  if (!stage.trains_model() && !parameters_.model()->config().has_indexer())
    return Fail(Code::kInvalidArgument, "stage {}: the model has no indexer, and the stage trains nothing else",
                stage.name());
  const auto policy = config_.cut_long ? DatasetOptions::TooLong::kCut : DatasetOptions::TooLong::kDrop;
  MINKE_ASSIGN(Dataset data, Dataset::Open(stage.data, encoder_,
                                           {.seed = config_.seed + index,
                                            .shuffle = config_.shuffle,
                                            .long_messages = policy,
                                            .skip_bad_lines = config_.skip_bad_lines}));
  if (!cursor_.is_null() && cursor_stage_ == index) {
    MINKE_ASSIGN(const DataCursor cursor, DataCursor::FromJson(cursor_, config_.out));
    MINKE_TRY(data.Restore(cursor));
  }
  const int64_t most = std::max(std::min(stage.batch_tokens, stage.micro_tokens), stage.sequence_tokens);
  MINKE_ASSIGN(auto learner, Learner::Create(parameters_, kernels_, pool_,
                                             {.max_tokens = most,
                                              .max_sequences = most / 2 + 1,  // a document has two tokens at least
                                              .max_context = stage.sequence_tokens,
                                              .attention = stage.dense ? Attention::kDense : Attention::kDsa,
                                              .mtp = stage.mtp_weight > 0}));
  return std::make_unique<StageRun>(stage, parameters_, optimizer_, std::move(data), std::move(learner), kernels_,
                                    pool_);
}

Status Run::Save(int64_t step, size_t stage, StageRun& run) {
  const Json state = {{"config", config_.ToJson()},
                      {"runs", runs_},
                      {"step", step},
                      {"stage", stage},
                      {"cursor", Json::parse(run.data().cursor().ToJson().dump())}};
  return SaveTraining(config_.out, step, parameters_, optimizer_, files_, state);
}

Status Run::WriteMetrics(MetricsWriter& metrics, const StepReport& r) {
  const MetricField fields[] = {{"stage", std::string_view(r.stage->name())},
                                {"tokens", r.tokens},
                                {"loss", r.loss},
                                {"mtp_loss", r.mtp_loss},
                                {"indexer_kl", r.indexer_kl},
                                {"balance", r.balance},
                                {"norm", r.norm},
                                {"indexer_norm", r.indexer_norm},
                                {"lr", r.lr},
                                {"expert_imbalance", r.expert_imbalance},
                                {"bad_lines", r.data.bad_lines},
                                {"dropped", r.data.dropped},
                                {"seconds", r.seconds},
                                {"cpu_seconds", r.cpu_seconds}};
  return metrics.Write(r.step, fields);
}

Result<TrainResult> Run::All() {
  MINKE_ASSIGN(const RunLock lock, RunLock::Take(config_.out));
  TrainResult result;
  MINKE_ASSIGN(result.resumed_at, Resume());
  MINKE_ASSIGN(MetricsWriter metrics,
               MetricsWriter::Open(config_.out + "/metrics.jsonl", result.resumed_at > 0 ? result.resumed_at : -1));
  int64_t step = 0, saved = result.resumed_at;  // of the run
  for (size_t index = 0; index < config_.stages.size(); ++index) {
    const StageConfig& stage = config_.stages[index];
    const int64_t first = step, end = step + stage.steps;
    step = std::max(step, std::min(result.resumed_at, end));
    if (step == end) continue;
    MINKE_ASSIGN(const auto run, BeginStage(index));
    while (step < end) {
      StepReport report{.stage = &stage, .step = step + 1, .total_steps = config_.total_steps()};
      const double start = WallSeconds(), cpu_start = CpuSeconds();
      if (const Status read = run->ReadBatch(); !read) {  // the weights are whole
        if (step == saved) return Fail(read.error());
        const Status kept = Save(step, index, *run);
        return Fail(read.error().code, "{}; {}", read.error().message,
                    kept ? fmt::format("the {} steps before are saved", step) : kept.error().message);
      }
      MINKE_TRY(run->Step(step - first, report));
      report.seconds = WallSeconds() - start, report.cpu_seconds = CpuSeconds() - cpu_start;
      ++step;
      MINKE_TRY(WriteMetrics(metrics, report));
      if (hooks_.on_step) hooks_.on_step(report);
      const bool stop = hooks_.should_stop && hooks_.should_stop();
      if (stop || step == end || step % config_.checkpoint_every == 0) {
        MINKE_TRY(Save(step, index, *run));
        saved = step;
      }
      if (stop && step < config_.total_steps()) {
        result.steps = step;
        return result;
      }
    }
  }
  result.steps = step;
  result.finished = true;
  MINKE_TRY(SaveModel(config_.out + "/model", parameters_, files_));
  return result;
}

}  // namespace

Result<TrainResult> Train(const TrainConfig& config, Parameters& parameters, const ModelFiles& files,
                          const DocumentEncoder& encoder, const KernelSet& kernels, ThreadPool& pool,
                          const TrainHooks& hooks) {
  return Run(config, parameters, files, encoder, kernels, pool, hooks).All();
}

}  // namespace minke
