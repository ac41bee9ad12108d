// What one step of `minke rl` did, and its line in metrics.jsonl.
#pragma once

#include <cstdint>
#include <vector>

#include "minke/base/result.h"
#include "minke/train/metrics.h"
#include "minke/train/rl_config.h"

namespace minke {

struct RlTaskReport {
  int64_t rollouts = 0;
  double reward = 0, accuracy = 0, think_tokens = 0, forced = 0, formatted = 0;  // means
};

struct RlReport {
  int64_t step = 0, total_steps = 0;  // from 1
  std::vector<RlTaskReport> tasks;    // as in the configuration
  RlTaskReport all;
  double judge = 0;  // mean score of the judges, 0..10
  int64_t judged = 0, judge_failed = 0;
  double on_policy_max_abs_diff = 0;
  int64_t tokens = 0;                 // that the policy chose
  int64_t cut = 0;                    // answers that the context ended before max_tokens
  int64_t skipped_questions = 0;      // all answers had the same reward
  int64_t updates = 0;                // mini-batches with something to learn
  double loss = 0, kl = 0, norm = 0;  // means over updates
  double clipped = 0, masked = 0;     // shares of tokens, of sequences
  double mean_ratio_log = 0, max_ratio_log = 0;
  double rollout_seconds = 0, judge_seconds = 0, learn_seconds = 0;
  double cpu_seconds = 0;  // of the whole process
};

// The line of a step; of a mix with accuracy and thinking tokens of each task as well. Errors: those of the writer.
Status WriteRlMetrics(const RlConfig& config, const RlReport& report, MetricsWriter& metrics);

}  // namespace minke
