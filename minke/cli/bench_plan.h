// What `minke bench` measures, and what it leaves out with the reason: arithmetic only, nothing runs here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "minke/base/result.h"
#include "minke/model/forward.h"

namespace minke {

enum class Phase { kPrefill, kDecode };
const char* PhaseName(Phase phase);              // "prefill", "decode"
const char* AttentionName(Attention attention);  // "dsa", "dense"

// Lists are ascending, without repeats and not empty; attentions are in the order of the report. One of the token
// counts is not 0.
struct BenchOptions {
  std::vector<int64_t> depths = {0, 4096, 16384, 65536, 131072}, batches = {1, 4, 16}, threads;
  std::vector<Attention> attentions = {Attention::kDsa};
  int64_t prompt_tokens = 512, decode_tokens = 32;  // of each sequence; 0 leaves a phase out
  int64_t repetitions = 3;
  CacheFormats cache = {};
  bool fill_by_prefill = false;  // else with random rows

  int64_t tokens(Phase phase) const { return phase == Phase::kPrefill ? prompt_tokens : decode_tokens; }
};

struct BenchPoint {
  int64_t batch = 1, depth = 0;
  std::vector<Phase> phases;
  int64_t positions = 0;  // of each sequence: the depth and the longest of the phases
};
struct BenchSkip {
  int64_t depth = 0;
  std::optional<Phase> phase;    // nothing: both
  std::optional<int64_t> batch;  // nothing: every
  Error error;
};
struct BenchPlan {
  std::vector<BenchPoint> points;  // by batch, then by depth
  std::vector<BenchSkip> skipped;
};

struct BenchLimits {
  int64_t positions = 0;    // that the model has
  int64_t page_bytes = 0;   // of the cache
  int64_t fixed_bytes = 0;  // activations
  int64_t available_bytes = 0;
};
BenchPlan PlanBench(const BenchOptions& options, const BenchLimits& limits);

std::string SkipText(const BenchSkip& skip);  // "depth 64K, batch 16: ..."

}  // namespace minke
