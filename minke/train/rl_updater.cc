#include "minke/train/rl_updater.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "minke/train/finite.h"
#include "minke/train/schedule.h"

namespace minke {
namespace {

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

}  // namespace

Result<std::unique_ptr<Learner>> RlUpdater::MakeLearner(Parameters& parameters) const {
  return Learner::Create(parameters, kernels_, pool_,
                         {.max_tokens = std::max(config_.micro_tokens, context_),
                          .max_sequences = config_.questions * config_.answers,
                          .max_context = context_,
                          .attention = config_.dense ? Attention::kDense : Attention::kDsa,
                          .mtp = false});
}

Result<std::unique_ptr<RlUpdater>> RlUpdater::Create(const RlConfig& config, int64_t context, Parameters& parameters,
                                                     const KernelSet& kernels, ThreadPool& pool) {
  auto updater = std::unique_ptr<RlUpdater>(new RlUpdater(config, context, parameters, kernels, pool));
  MINKE_ASSIGN(updater->learner_, updater->MakeLearner(parameters));
  return updater;
}

Status RlUpdater::SetReference(Parameters& reference) {
  MINKE_ASSIGN(reference_learner_, MakeLearner(reference));
  return {};
}

Status RlUpdater::Learn(std::vector<Episode>& episodes, int64_t step, RlReport& report) {
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
  return {};
}

void RlUpdater::Compare(const Episode& episode, TensorView<const float, 2> logits, int64_t first_row,
                        RlReport& report) const {
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

Status RlUpdater::Score(std::span<Episode* const> episodes, RlReport& report) {
  const SamplingParams params = SamplingOf(config_, 0);
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

Status RlUpdater::ScoreReference(std::span<Episode* const> episodes) {
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
Status RlUpdater::Update(std::span<Episode* const> episodes, bool stale, double rate, RlReport& report) {
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
  if (!std::isfinite(sum.loss + norms.model + norms.indexer))
    return Fail(Code::kFailed,
                "step {}: loss {}, gradient norm {}: {}; the last checkpoint is as it was: lower the learning rate",
                report.step, sum.loss, norms.model + norms.indexer,
                WhatIsNotFinite(parameters_, learner_->gradients()));
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

Status RlUpdater::CheckOnPolicy(const RlReport& report) const {
  if (!config_.check_on_policy || report.on_policy_max_abs_diff == 0) return {};
  return Fail(
      Code::kFailed,
      "step {}: rollout and learner differ by {} in a log-probability; this is a defect of minke, please report "
      "it with the configuration (check_on_policy = false goes on without the check)",
      report.step, report.on_policy_max_abs_diff);
}

}  // namespace minke
