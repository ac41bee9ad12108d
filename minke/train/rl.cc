#include "minke/train/rl.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <optional>

#include "minke/engine/engine.h"
#include "minke/engine/sampler.h"
#include "minke/model/learner.h"
#include "minke/train/checkpoint.h"
#include "minke/train/evaluate.h"
#include "minke/train/metrics.h"
#include "minke/train/rollout.h"
#include "minke/train/schedule.h"
#include "minke/train/seconds.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

// One answer and all that learning from it needs.
struct Episode {
  size_t task = 0;
  int64_t question = 0;
  std::vector<TokenId> tokens;  // prompt and answer
  int64_t prompt = 0;           // tokens of the prompt
  Rollout rollout;
  Verdict verdict;
  std::string judge_question;  // empty without a judge
  double judge_reward = 0;
  double reward = 0, advantage = 0;
  std::vector<float> old_logprobs, ref_logprobs;  // [answer]
  KeptSets kept;
  Replay replay;

  std::span<const TokenId> answer() const { return std::span(tokens).subspan(static_cast<size_t>(prompt)); }
};

// Calls f(part, items) for runs of episodes that go through the learner together.
template <class F>
Status ForMicroBatches(std::span<Episode* const> episodes, int64_t micro_tokens, bool replay, F&& f) {
  for (size_t begin = 0; begin < episodes.size();) {
    size_t end = begin;
    int64_t rows = 0;
    std::vector<LearnerItem> items;
    while (end < episodes.size() && (end == begin || rows + std::ssize(episodes[end]->tokens) <= micro_tokens)) {
      rows += std::ssize(episodes[end]->tokens);
      items.push_back({episodes[end]->tokens, replay ? &episodes[end]->replay : nullptr});
      ++end;
    }
    MINKE_TRY(f(episodes.subspan(begin, end - begin), std::span<const LearnerItem>(items)));
    begin = end;
  }
  return {};
}

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
        hooks_(hooks),
        optimizer_(parameters, kernels, pool, config.adamw),
        sampler_(kernels, parameters.model()->config().vocab_size) {}

  Result<RlResult> All();

 private:
  Status Open();
  Result<int64_t> Resume();
  Status RefreshReference(int64_t step);
  Result<std::unique_ptr<Learner>> MakeLearner(Parameters& parameters);

  Status Step(int64_t step, RlReport& report);
  Result<std::vector<Episode>> Roll(int64_t step, RlReport& report);
  Status AskJudges(int64_t step, std::vector<Episode>& episodes, RlReport& report);
  void Reward(std::vector<Episode>& episodes, RlReport& report) const;
  // Old log-probabilities, kept sets and choices, by the weights that sampled.
  Status Score(std::span<Episode* const> episodes, RlReport& report);
  Status ScoreReference(std::span<Episode* const> episodes);
  void Compare(const Episode& episode, TensorView<const float, 2> logits, int64_t first_row, RlReport& report) const;
  Status Update(std::span<Episode* const> episodes, bool stale, double rate, RlReport& report);
  Status CheckOnPolicy(const RlReport& report) const;

  // Whether the policy's distribution is not simply the softmax that the engine reports.
  bool reshapes() const { return config_.filters() || config_.temperature != 1; }
  bool keeps_sets() const { return config_.filters() && config_.keep_sampling_mask; }
  SamplingParams Sampling(int64_t step) const;
  Status Save(int64_t step);
  Status WriteMetrics(MetricsWriter& metrics, const RlReport& r) const;

  const RlConfig& config_;
  Parameters& parameters_;
  const ModelFiles& files_;
  const Tokenizer& tokenizer_;
  const TemplateChoice& choice_;
  const KernelSet& kernels_;
  ThreadPool& pool_;
  const RlHooks& hooks_;
  AdamW optimizer_;
  Sampler sampler_;
  std::vector<std::unique_ptr<const Task>> tasks_;
  std::vector<std::optional<AnswerJudge>> judges_;  // [tasks]
  std::optional<JudgeBook> judge_book_;
  int64_t context_ = 0;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Learner> learner_;
  std::unique_ptr<Parameters> reference_;
  std::unique_ptr<Learner> reference_learner_;
  int64_t reference_step_ = 0;
  int64_t saved_reference_step_ = 0;  // of the last checkpoint
};

constexpr int64_t kMostPrompt = 16384;  // tokens

Status Rl::Open() {
  for (const RlTask& task : config_.tasks) {
    MINKE_ASSIGN(auto found, FindTask(task.name));
    if (found->has_calls() && choice_.format != ChatFormat::kV32)
      return Fail(Code::kInvalidArgument, "task {}: its calls are written in the format v32, this model's is {}",
                  task.name, Name(choice_.format));
    tasks_.push_back(std::move(found));
    judges_.emplace_back();
    if (task.reward.judge.enabled()) {
      MINKE_ASSIGN(judges_.back(), AnswerJudge::Create(task.reward.judge, "task " + task.name));
    }
  }
  if (config_.has_judge()) {
    MINKE_ASSIGN(judge_book_, JudgeBook::Open(config_.out + "/judge.jsonl"));
  }
  const ModelConfig& model = parameters_.model()->config();
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
  MINKE_ASSIGN(learner_, MakeLearner(parameters_));
  return {};
}

Result<std::unique_ptr<Learner>> Rl::MakeLearner(Parameters& parameters) {
  return Learner::Create(parameters, kernels_, pool_,
                         {.max_tokens = std::max(config_.micro_tokens, context_),
                          .max_sequences = config_.questions * config_.answers,
                          .max_context = context_,
                          .attention = config_.dense ? Attention::kDense : Attention::kDsa,
                          .mtp = false});
}

Result<int64_t> Rl::Resume() {
  int64_t step = 0;
  if (config_.has_reference()) {  // the weights to start from, until they are renewed
    MINKE_ASSIGN(reference_, Parameters::Copy(*parameters_.model(), kernels_, Parameters::MtpCopies::kShared));
  }
  if (const auto folder = LatestTraining(config_.out)) {
    MINKE_ASSIGN(const Json state, LoadTraining(*folder, parameters_, optimizer_));
    if (!state.is_object() || !state.contains("rl") || !state.contains("step") || !state["step"].is_number_integer() ||
        !state.contains("reference_step") || !state["reference_step"].is_number_integer())
      return Fail(Code::kDamaged, "{}/training.json: holds no state of minke rl", *folder);
    MINKE_TRY(CheckSameRun(state["rl"], config_.ToJson(), *folder));
    step = state["step"];
    reference_step_ = saved_reference_step_ = state["reference_step"];
  }
  if (!reference_) return step;
  if (reference_step_ > 0) {
    const std::string folder = fmt::format("{}/reference-{}", config_.out, reference_step_);
    MINKE_ASSIGN(const auto model, Model::Open(folder));
    MINKE_ASSIGN(reference_, Parameters::Copy(*model, kernels_, Parameters::MtpCopies::kShared));
  }
  MINKE_ASSIGN(reference_learner_, MakeLearner(*reference_));
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

SamplingParams Rl::Sampling(int64_t step) const {
  SamplingParams params;
  params.temperature = config_.temperature;
  params.top_p = config_.top_p, params.top_k = config_.top_k, params.min_p = config_.min_p;
  params.max_tokens = config_.max_tokens;
  params.seed = SeedOf(config_.seed, static_cast<uint64_t>(step));
  params.logprobs = true;
  return params;
}

Result<std::vector<Episode>> Rl::Roll(int64_t step, RlReport& report) {
  const double start = WallSeconds();
  double shares = 0;
  for (const RlTask& task : config_.tasks) shares += task.share;
  std::vector<Episode> episodes;
  std::vector<RolloutRequest> requests;
  std::vector<Problem> problems;
  for (int64_t q = 0; q < config_.questions; ++q) {
    const auto index = static_cast<uint64_t>(step * config_.questions + q);
    double place = Philox(config_.seed, UINT64_MAX).Uniform(index) * shares;
    size_t t = 0;
    while (t + 1 < tasks_.size() && place >= config_.tasks[t].share) place -= config_.tasks[t++].share;
    const RlTask& task = config_.tasks[t];
    problems.push_back(tasks_[t]->Make(config_.seed, index, Split::kTrain));
    EvalOptions options;
    options.format = choice_.format, options.opens_think = choice_.opens_think, options.thinking = task.think;
    MINKE_ASSIGN(const std::vector<TokenId> prompt, EncodePrompt(tokenizer_, problems.back(), options));
    const int64_t room = context_ - std::ssize(prompt);
    if (room < 1)
      return Fail(Code::kInvalidArgument, "task {}: a prompt of {} tokens does not fit the context of {}", task.name,
                  prompt.size(), context_);
    for (int64_t a = 0; a < config_.answers; ++a) {
      RolloutRequest& request = requests.emplace_back();
      request.prompt = prompt;
      request.thinking = task.think;
      request.params = Sampling(step);
      request.params.max_tokens = std::min(request.params.max_tokens, room);
      request.params.stream = static_cast<uint64_t>(q * config_.answers + a);
      request.think_budget = task.think_budget;
      request.answer_tokens = task.answer_tokens > 0 ? task.answer_tokens : tasks_[t]->answer_tokens();
      request.environment = tasks_[t]->MakeEnvironment(task.think);
      Episode& episode = episodes.emplace_back();
      episode.task = t, episode.question = q;
      episode.tokens = prompt, episode.prompt = std::ssize(prompt);
    }
  }
  MINKE_ASSIGN(auto rollouts, RunRollouts(*engine_, tokenizer_, requests));
  for (size_t i = 0; i < episodes.size(); ++i) {
    Episode& episode = episodes[i];
    episode.rollout = std::move(rollouts[i]);
    const Rollout& rollout = episode.rollout;
    episode.tokens.insert(episode.tokens.end(), rollout.tokens.begin(), rollout.tokens.end());
    episode.verdict = tasks_[episode.task]->Judge(problems[static_cast<size_t>(episode.question)], rollout.reasoning,
                                                  rollout.content);
    if (judges_[episode.task]) {
      const Problem& problem = problems[static_cast<size_t>(episode.question)];
      episode.judge_question = problem.system.empty() ? problem.prompt : problem.system + "\n\n" + problem.prompt;
    }
    report.tokens += rollout.num_chosen();
  }
  report.rollout_seconds = WallSeconds() - start;
  return episodes;
}

// The judges' part of the rewards, task by task.
Status Rl::AskJudges(int64_t step, std::vector<Episode>& episodes, RlReport& report) {
  const double start = WallSeconds();
  for (size_t t = 0; t < tasks_.size(); ++t) {
    if (!judges_[t]) continue;
    std::vector<JudgeItem> items;
    for (size_t i = 0; i < episodes.size(); ++i)
      if (episodes[i].task == t)
        items.push_back({static_cast<int64_t>(i), episodes[i].judge_question, episodes[i].rollout.content});
    MINKE_ASSIGN(const auto scores, judges_[t]->Score(step + 1, items, *judge_book_));
    for (size_t i = 0; i < items.size(); ++i) {
      episodes[static_cast<size_t>(items[i].rollout)].judge_reward =
          config_.tasks[t].reward.judge.weight * scores[i].score / 10;
      ++report.judged, report.judge += scores[i].score, report.judge_failed += scores[i].failed;
    }
  }
  report.judge_seconds = WallSeconds() - start;
  if (report.judged > 0) report.judge /= static_cast<double>(report.judged);
  return {};
}

// Rewards, and advantages without dividing by their deviation (V3.2 report 3.1).
void Rl::Reward(std::vector<Episode>& episodes, RlReport& report) const {
  report.tasks.resize(tasks_.size());
  for (Episode& episode : episodes) {
    episode.reward = RewardOf(episode.verdict, episode.rollout, config_.tasks[episode.task].reward);
    episode.reward += episode.judge_reward;
    for (RlTaskReport* sum : {&report.all, &report.tasks[episode.task]}) {
      ++sum->rollouts;
      sum->reward += episode.reward, sum->accuracy += episode.verdict.right, sum->forced += episode.rollout.forced;
      sum->think_tokens += static_cast<double>(episode.rollout.think_tokens);
      sum->formatted += episode.verdict.formatted;
    }
  }
  const auto divide = [](RlTaskReport& sum) {
    if (sum.rollouts == 0) return;
    const double count = static_cast<double>(sum.rollouts);
    for (double* value : {&sum.reward, &sum.accuracy, &sum.think_tokens, &sum.forced, &sum.formatted}) *value /= count;
  };
  divide(report.all);
  for (RlTaskReport& task : report.tasks) divide(task);
  const auto answers = static_cast<size_t>(config_.answers);
  for (size_t begin = 0; begin < episodes.size(); begin += answers) {
    const auto group = std::span(episodes).subspan(begin, answers);
    double mean = 0;
    for (const Episode& episode : group) mean += episode.reward / static_cast<double>(answers);
    const bool same = std::ranges::all_of(group, [&](const Episode& e) { return e.reward == group[0].reward; });
    for (Episode& episode : group) episode.advantage = same ? 0 : episode.reward - mean;
    report.skipped_questions += same;
  }
}

void Rl::Compare(const Episode& episode, TensorView<const float, 2> logits, int64_t first_row, RlReport& report) const {
  const auto answer = episode.answer();
  for (size_t i = 0; i < answer.size(); ++i) {
    if (!episode.rollout.chosen[i]) continue;
    const float logprob = PolicyLogprob(kernels_, logits[first_row + static_cast<int64_t>(i)], answer[i], 1, {});
    const double difference =
        std::fabs(static_cast<double>(logprob) - static_cast<double>(episode.rollout.logprobs[i]));
    // A NaN is the largest difference of all.
    if (std::isnan(difference)) {
      report.on_policy_max_abs_diff = std::numeric_limits<double>::infinity();
    } else {
      report.on_policy_max_abs_diff = std::max(report.on_policy_max_abs_diff, difference);
    }
  }
}

Status Rl::Score(std::span<Episode* const> episodes, RlReport& report) {
  const SamplingParams params = Sampling(0);
  return ForMicroBatches(
      episodes, config_.micro_tokens, false,
      [&](std::span<Episode* const> part, std::span<const LearnerItem> items) -> Status {
        const auto logits = learner_->Forward(items);
        std::vector<Replay> choices = learner_->Choices();
        int64_t first_row = 0;
        for (size_t e = 0; e < part.size(); ++e) {
          Episode& episode = *part[e];
          const auto answer = episode.answer();
          const int64_t row = first_row + episode.prompt - 1;
          if (config_.check_on_policy) Compare(episode, logits, row, report);
          episode.old_logprobs.assign(answer.size(), 0);
          episode.kept = {.begin = {0}, .tokens = {}};
          for (size_t i = 0; i < answer.size(); ++i) {
            std::span<const TokenId> kept;
            const auto row_logits = logits[row + static_cast<int64_t>(i)];
            if (keeps_sets() && episode.rollout.chosen[i]) {
              MINKE_ASSIGN(kept, sampler_.Kept(row_logits, params));
              const size_t begin = episode.kept.tokens.size();
              episode.kept.tokens.insert(episode.kept.tokens.end(), kept.begin(), kept.end());
              std::sort(episode.kept.tokens.begin() + static_cast<int64_t>(begin), episode.kept.tokens.end());
              kept = std::span(episode.kept.tokens).subspan(begin);
            }
            if (episode.rollout.chosen[i])
              episode.old_logprobs[i] = PolicyLogprob(kernels_, row_logits, answer[i], config_.temperature, kept);
            episode.kept.begin.push_back(static_cast<int32_t>(episode.kept.tokens.size()));
          }
          episode.replay = std::move(choices[e]);
          if (!config_.keep_routing) episode.replay.experts.clear();
          if (!config_.replay_index) episode.replay.topk.clear(), episode.replay.num_selected.clear();
          first_row += std::ssize(episode.tokens);
        }
        return {};
      });
}

Status Rl::ScoreReference(std::span<Episode* const> episodes) {
  return ForMicroBatches(episodes, config_.micro_tokens, false,
                         [&](std::span<Episode* const> part, std::span<const LearnerItem> items) -> Status {
                           const auto logits = reference_learner_->Forward(items);
                           int64_t row = 0;
                           for (Episode* episode : part) {
                             const auto answer = episode->answer();
                             episode->ref_logprobs.assign(answer.size(), 0);
                             for (size_t i = 0; i < answer.size(); ++i) {
                               if (!episode->rollout.chosen[i]) continue;
                               const auto kept = keeps_sets() ? episode->kept.At(i) : std::span<const TokenId>();
                               episode->ref_logprobs[i] =
                                   PolicyLogprob(kernels_, logits[row + episode->prompt - 1 + static_cast<int64_t>(i)],
                                                 answer[i], config_.temperature, kept);
                             }
                             row += std::ssize(episode->tokens);
                           }
                           return {};
                         });
}

// One optimiser step on the episodes of some questions. `stale`: the weights have changed since they were sampled, and
// the episodes were scored; what the sampler chose is then done again.
Status Rl::Update(std::span<Episode* const> episodes, bool stale, double rate, RlReport& report) {
  learner_->ClearGradients();
  const double questions = static_cast<double>(config_.questions) / static_cast<double>(config_.mini_batches);
  const float weight = static_cast<float>(1 / (questions * static_cast<double>(config_.answers)));
  int64_t rows = 0;
  for (const Episode* episode : episodes) rows += std::ssize(episode->tokens);
  GrpoFacts sum;
  const bool replay = stale && (config_.keep_routing || config_.replay_index);
  const Status done = ForMicroBatches(
      episodes, config_.micro_tokens, replay,
      [&](std::span<Episode* const> part, std::span<const LearnerItem> items) -> Status {
        const auto logits = learner_->Forward(items);
        int64_t first_row = 0;
        std::vector<GrpoSequence> sequences;
        for (Episode* episode : part) {
          const int64_t row = first_row + episode->prompt - 1;
          if (!stale && config_.check_on_policy) Compare(*episode, logits, row, report);
          const bool scored = stale || reshapes();
          sequences.push_back({.first_row = row,
                               .tokens = episode->answer(),
                               .chosen = episode->rollout.chosen,
                               .old_logprobs = scored ? episode->old_logprobs : episode->rollout.logprobs,
                               .ref_logprobs = episode->ref_logprobs,
                               .kept = keeps_sets() ? &episode->kept : nullptr,
                               .advantage = static_cast<float>(episode->advantage),
                               .weight = weight});
          first_row += std::ssize(episode->tokens);
        }
        MINKE_TRY(CheckOnPolicy(report));
        std::vector<GrpoOptions> options(sequences.size(), config_.grpo);
        for (size_t i = 0; i < part.size(); ++i)
          options[i].beta = static_cast<float>(config_.tasks[part[i]->task].beta);
        const GrpoFacts facts = GrpoLoss(kernels_, pool_, logits, sequences, options);
        sum.loss += facts.loss;
        sum.kl += facts.kl * static_cast<double>(facts.sequences);
        sum.mean_ratio_log += facts.mean_ratio_log * static_cast<double>(facts.tokens);
        sum.max_ratio_log = std::max(sum.max_ratio_log, facts.max_ratio_log);
        sum.tokens += facts.tokens, sum.clipped_tokens += facts.clipped_tokens;
        sum.sequences += facts.sequences, sum.masked_sequences += facts.masked_sequences;
        learner_->Backward(
            {.model = true,
             .indexer_weight = config_.indexer_lr > 0 ? static_cast<float>(1 / static_cast<double>(rows)) : 0});
        return {};
      });
  MINKE_TRY(done);
  const AdamW::Norms norms = optimizer_.NormsOf(learner_->gradients());
  if (!std::isfinite(sum.loss + norms.model + norms.indexer)) {
    const std::string tensor = BrokenTensor(parameters_, learner_->gradients());
    return Fail(Code::kFailed,
                "step {}: the loss ({}) or a gradient is not finite, first in {}; the last checkpoint is as it was: "
                "lower the learning rate",
                report.step, sum.loss, tensor.empty() ? "no gradient" : tensor);
  }
  AdamW::Rates rates;
  rates.mtp = false;
  rates.model = rate;
  if (config_.indexer_lr > 0) rates.indexer = config_.indexer_lr;
  optimizer_.Update(learner_->gradients(), norms, rates);
  const double updates = static_cast<double>(report.updates);
  report.loss += sum.loss / updates, report.norm += norms.model / updates;
  if (sum.sequences > 0) {
    report.kl += sum.kl / static_cast<double>(sum.sequences) / updates;
    report.masked += static_cast<double>(sum.masked_sequences) / static_cast<double>(sum.sequences) / updates;
  }
  if (sum.tokens > 0) {
    report.clipped += static_cast<double>(sum.clipped_tokens) / static_cast<double>(sum.tokens) / updates;
    report.mean_ratio_log += sum.mean_ratio_log / static_cast<double>(sum.tokens) / updates;
  }
  report.max_ratio_log = std::max(report.max_ratio_log, sum.max_ratio_log);
  return {};
}

Status Rl::CheckOnPolicy(const RlReport& report) const {
  if (!config_.check_on_policy || report.on_policy_max_abs_diff == 0) return {};
  return Fail(
      Code::kFailed,
      "step {}: rollout and learner differ by {} in a log-probability; this is a defect of minke, please report "
      "it with the configuration (check_on_policy = false goes on without the check)",
      report.step, report.on_policy_max_abs_diff);
}

// `step` counts from 0.
Status Rl::Step(int64_t step, RlReport& report) {
  const double cpu_start = CpuSeconds();
  MINKE_ASSIGN(std::vector<Episode> episodes, Roll(step, report));
  MINKE_TRY(AskJudges(step, episodes, report));
  Reward(episodes, report);
  const double start = WallSeconds();
  // Episodes of each update, but for questions that teach nothing.
  std::vector<std::vector<Episode*>> updates(static_cast<size_t>(config_.mini_batches));
  for (Episode& episode : episodes)
    if (episode.advantage != 0 || config_.tasks[episode.task].beta > 0)
      updates[static_cast<size_t>(episode.question * config_.mini_batches / config_.questions)].push_back(&episode);
  for (size_t u = 0; u < updates.size(); ++u)
    if (u > 0 || reshapes()) MINKE_TRY(Score(updates[u], report));
  MINKE_TRY(CheckOnPolicy(report));
  if (reference_learner_)
    for (const auto& update : updates) MINKE_TRY(ScoreReference(update));
  const double rate = Schedule{config_.lr, config_.lr, config_.warmup_steps, 0, config_.steps}.At(step);
  bool stale = false;
  report.updates = std::ranges::count_if(updates, [](const auto& update) { return !update.empty(); });
  for (const auto& update : updates) {
    if (update.empty()) continue;
    MINKE_TRY(Update(update, stale, rate, report));
    stale = true;
  }
  report.learn_seconds = WallSeconds() - start;
  report.cpu_seconds = CpuSeconds() - cpu_start;
  return {};
}

// References before the one of the last checkpoint but one, which is kept, are needed no more.
Status Rl::Save(int64_t step) {
  const Json state = {{"rl", config_.ToJson()}, {"step", step}, {"reference_step", reference_step_}};
  MINKE_TRY(SaveTraining(config_.out, step, parameters_, optimizer_, files_, state));
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(config_.out, error)) {
    const std::string name = entry.path().filename().string();
    constexpr std::string_view kPrefix = "reference-";
    if (name.starts_with(kPrefix) && std::atoll(name.c_str() + kPrefix.size()) < saved_reference_step_)
      fs::remove_all(entry.path(), error);
  }
  saved_reference_step_ = reference_step_;
  return {};
}

Status Rl::WriteMetrics(MetricsWriter& metrics, const RlReport& r) const {
  std::vector<MetricField> fields = {{"reward", r.all.reward},
                                     {"accuracy", r.all.accuracy},
                                     {"think_tokens", r.all.think_tokens},
                                     {"forced", r.all.forced},
                                     {"formatted", r.all.formatted},
                                     {"tokens", r.tokens},
                                     {"skipped_questions", r.skipped_questions},
                                     {"on_policy_max_abs_diff", r.on_policy_max_abs_diff},
                                     {"loss", r.loss},
                                     {"kl", r.kl},
                                     {"norm", r.norm},
                                     {"clipped", r.clipped},
                                     {"masked", r.masked},
                                     {"mean_ratio_log", r.mean_ratio_log},
                                     {"max_ratio_log", r.max_ratio_log},
                                     {"rollout_seconds", r.rollout_seconds},
                                     {"learn_seconds", r.learn_seconds},
                                     {"cpu_seconds", r.cpu_seconds}};
  if (judge_book_) {
    fields.push_back({"judge", r.judge});
    fields.push_back({"judge_failed", r.judge_failed});
    fields.push_back({"judge_seconds", r.judge_seconds});
  }
  std::vector<std::string> names;
  names.reserve(2 * r.tasks.size());
  if (r.tasks.size() > 1) {
    for (size_t t = 0; t < r.tasks.size(); ++t) {
      names.push_back("accuracy." + config_.tasks[t].name);
      fields.push_back({names.back(), r.tasks[t].accuracy});
      names.push_back("think_tokens." + config_.tasks[t].name);
      fields.push_back({names.back(), r.tasks[t].think_tokens});
    }
  }
  return metrics.Write(r.step, fields);
}

Result<RlResult> Rl::All() {
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
    MINKE_TRY(Step(step, report));
    ++step;
    result.on_policy_max_abs_diff = std::max(result.on_policy_max_abs_diff, report.on_policy_max_abs_diff);
    if (reference_ && config_.reference_every > 0 && step % config_.reference_every == 0)
      MINKE_TRY(RefreshReference(step));
    MINKE_TRY(WriteMetrics(metrics, report));
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
