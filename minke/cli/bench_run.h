// Measures a model at the points of a plan: Forward on pages of its own, no engine, no text. Tokens are random, so that
// they spread over the experts; what is sampled from the logits costs nothing here.
#pragma once

#include <functional>
#include <vector>

#include "minke/base/result.h"
#include "minke/cli/bench_plan.h"
#include "minke/cli/peaks.h"
#include "minke/model/forward.h"

namespace minke {

struct BenchRow {
  Phase phase = Phase::kPrefill;
  int64_t depth = 0, tokens = 0, batch = 1;  // tokens: new ones of each sequence
  int threads = 1;
  Attention attention = Attention::kDsa;
  double tokens_per_s = 0;  // of all sequences together: the median of the repetitions
  double spread = 0;        // (fastest - slowest) / median
  Work work;                // of one repetition
  double least_s = 0;       // that the machine's peaks allow for it
  bool memory_bound = false;
  // Where experts stream: of all repetitions together.
  ExpertStats experts;
  double all_seconds = 0;
  double disk_bytes_per_s = 0;  // of the model's files, read in order, just before and after

  // The time in which the disk could have brought what was missing, over the time that it all took.
  double disk_share() const { return static_cast<double>(experts.missed_bytes) / disk_bytes_per_s / all_seconds; }
  double num_tokens() const { return static_cast<double>(tokens * batch); }
  double roofline() const { return least_s * tokens_per_s / num_tokens(); }  // least over measured time
};

struct BenchReport {
  std::vector<Peaks> peaks;  // one for each number of threads
  std::vector<BenchRow> rows;
  std::vector<BenchSkip> skipped;
};

// Called from the caller's thread as results come in.
struct BenchWatcher {
  std::function<void(const Peaks&)> peaks;
  std::function<Status(const BenchRow&)> row;
  std::function<void(int64_t done, int64_t all)> progress;  // in tokens
};

// Errors: those of the watcher, kNoMemory, kDamaged once a mapped file fails; the reason of the first skipped point
// when nothing can be measured.
Result<BenchReport> RunBench(const Model& model, const KernelSet& kernels, const BenchOptions& options,
                             const BenchWatcher& watcher);

}  // namespace minke
