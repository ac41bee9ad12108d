#include "minke/cli/bench_plan.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

BenchLimits Roomy() {
  return {.positions = 1 << 20, .page_bytes = 1000, .fixed_bytes = 5000, .available_bytes = int64_t{1} << 40};
}

TEST(BenchPlan, ByBatchThenByDepth) {
  const BenchOptions options{.depths = {0, 100}, .batches = {1, 4}, .threads = {1}};
  const BenchPlan plan = PlanBench(options, Roomy());
  ASSERT_EQ(plan.points.size(), 4u);
  EXPECT_TRUE(plan.skipped.empty());
  EXPECT_EQ(plan.points[1].batch, 1);
  EXPECT_EQ(plan.points[1].depth, 100);
  EXPECT_EQ(plan.points[1].positions, 612);  // the prompt is the longer phase
  EXPECT_EQ(plan.points[2].batch, 4);
  EXPECT_EQ(plan.points[2].phases, (std::vector<Phase>{Phase::kPrefill, Phase::kDecode}));
}

TEST(BenchPlan, AnEmptyPhaseIsNoSkip) {
  const BenchPlan plan = PlanBench({.depths = {0}, .batches = {1}, .threads = {1}, .prompt_tokens = 0}, Roomy());
  ASSERT_EQ(plan.points.size(), 1u);
  EXPECT_EQ(plan.points[0].phases, (std::vector<Phase>{Phase::kDecode}));
  EXPECT_EQ(plan.points[0].positions, 32);
  EXPECT_TRUE(plan.skipped.empty());
}

TEST(BenchPlan, PhasesBeyondTheModelsPositionsAreSkippedOnceForAllBatches) {
  BenchLimits limits = Roomy();
  limits.positions = 2048;
  const BenchPlan plan = PlanBench({.depths = {0, 2000, 4096}, .batches = {1, 4}, .threads = {1}}, limits);
  ASSERT_EQ(plan.points.size(), 4u);
  EXPECT_EQ(plan.points[1].phases, (std::vector<Phase>{Phase::kDecode}));  // 2000 + 32 fit, 2000 + 512 do not
  ASSERT_EQ(plan.skipped.size(), 2u);
  EXPECT_EQ(SkipText(plan.skipped[0]), "depth 2000, prefill: 512 new tokens need 2512 positions, the model has 2048");
  EXPECT_EQ(SkipText(plan.skipped[1]), "depth 4K: 512 new tokens need 4608 positions, the model has 2048");
  EXPECT_EQ(plan.skipped[1].error.code, Code::kInvalidArgument);
}

TEST(BenchPlan, CachesBeyondTheMemoryAreSkippedByBatch) {
  BenchLimits limits = Roomy();
  limits.available_bytes = 5000 + 4 * 10 * 1000;  // four sequences of ten pages
  const BenchPlan plan = PlanBench({.depths = {128, 129}, .batches = {1, 4, 5}, .threads = {1}}, limits);
  ASSERT_EQ(plan.points.size(), 3u);  // 128 + 512 positions are ten pages
  EXPECT_EQ(plan.points[2].batch, 4);
  EXPECT_EQ(plan.points[2].depth, 128);
  ASSERT_EQ(plan.skipped.size(), 3u);
  EXPECT_EQ(SkipText(plan.skipped[0]),
            "depth 129, batch 4: needs 44.0 KB for the cache and 5.00 KB for activations, 45.0 KB are available");
  EXPECT_EQ(plan.skipped[0].error.code, Code::kNoMemory);
}

}  // namespace
}  // namespace minke
