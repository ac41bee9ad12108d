#include "minke/cli/bench_plan.h"

#include <algorithm>
#include <iterator>

#include "minke/cli/fit.h"
#include "minke/cli/list_flags.h"
#include "minke/engine/page_pool.h"

namespace minke {
namespace {

constexpr Phase kPhases[] = {Phase::kPrefill, Phase::kDecode};

}  // namespace

const char* PhaseName(Phase phase) { return phase == Phase::kPrefill ? "prefill" : "decode"; }
const char* AttentionName(Attention attention) { return attention == Attention::kDsa ? "dsa" : "dense"; }

BenchPlan PlanBench(const BenchOptions& options, const BenchLimits& limits) {
  BenchPlan plan;
  std::vector<BenchPoint> by_depth;  // what the model's positions allow, whatever the batch
  for (const int64_t depth : options.depths) {
    BenchPoint point{.depth = depth, .phases = {}};
    std::vector<BenchSkip> beyond;
    for (const Phase phase : kPhases) {
      const int64_t tokens = options.tokens(phase), positions = depth + tokens;
      if (tokens == 0) continue;
      if (positions <= limits.positions) {
        point.phases.push_back(phase);
        point.positions = std::max(point.positions, positions);
      } else {
        beyond.push_back({depth,
                          phase,
                          std::nullopt,
                          {Code::kInvalidArgument, fmt::format("{} new tokens need {} positions, the model has {}",
                                                               tokens, positions, limits.positions)}});
      }
    }
    if (point.phases.empty()) {  // said once for both
      beyond.front().phase = std::nullopt;
      beyond.resize(1);
    } else {
      by_depth.push_back(point);
    }
    std::ranges::move(beyond, std::back_inserter(plan.skipped));
  }
  for (const int64_t batch : options.batches)
    for (BenchPoint point : by_depth) {
      const double cache =
          static_cast<double>(batch * PagePool::PagesFor(point.positions)) * static_cast<double>(limits.page_bytes);
      const double needed = cache + static_cast<double>(limits.fixed_bytes);
      if (needed > static_cast<double>(limits.available_bytes)) {
        const auto text = [](double bytes) { return BytesText(static_cast<int64_t>(std::min(bytes, 9e18))); };
        plan.skipped.push_back({point.depth,
                                std::nullopt,
                                batch,
                                {Code::kNoMemory, fmt::format("needs {} for the cache and {} for activations, {} are "
                                                              "available",
                                                              text(cache), BytesText(limits.fixed_bytes),
                                                              BytesText(limits.available_bytes))}});
        continue;
      }
      point.batch = batch;
      plan.points.push_back(std::move(point));
    }
  return plan;
}

std::string SkipText(const BenchSkip& skip) {
  std::string what = "depth " + CountWord(skip.depth);
  if (skip.batch) what += fmt::format(", batch {}", *skip.batch);
  if (skip.phase) what += fmt::format(", {}", PhaseName(*skip.phase));
  return fmt::format("{}: {}", what, skip.error.message);
}

}  // namespace minke
