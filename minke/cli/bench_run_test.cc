#include "minke/cli/bench_run.h"

#include <gtest/gtest.h>

#include "minke/cli/bench_report.h"

namespace minke {
namespace {

BenchOptions Small() {
  BenchOptions options;
  options.depths = {0, 100}, options.batches = {1, 3}, options.threads = {1};
  options.attentions = {Attention::kDsa, Attention::kDense};
  options.prompt_tokens = 8, options.decode_tokens = 2, options.repetitions = 2;
  return options;
}

struct Watched {
  std::vector<BenchRow> rows;
  int64_t done = 0, all = 0, peaks = 0;
  BenchWatcher watcher() {
    return {.peaks = [this](const Peaks&) { ++peaks; },
            .row = [this](const BenchRow& row) -> Status {
              rows.push_back(row);
              return {};
            },
            .progress = [this](int64_t d, int64_t a) { done = d, all = a; }};
  }
};

class BenchNano : public testing::Test {
 protected:
  const std::unique_ptr<const Model> model_ = Model::Open(MINKE_TEST_DATA "/nano-hf").value();
  const KernelSet& kernels_ = *ChooseKernelSet("").value();
  Result<BenchReport> Run(const BenchOptions& options, Watched& watched) {
    return RunBench(*model_, kernels_, options, watched.watcher());
  }
};

TEST_F(BenchNano, MeasuresEveryPointOnce) {
  Watched watched;
  const auto report = Run(Small(), watched);
  ASSERT_TRUE(report) << report.error().message;
  ASSERT_EQ(report->rows.size(), 16u);  // 2 depths, 2 batches, 2 phases, 2 attentions
  EXPECT_EQ(watched.rows.size(), 16u);
  EXPECT_EQ(watched.done, 2 * (1 + 3) * 2 * 2 * (8 + 2));  // depths, sequences, repetitions, attentions, tokens
  EXPECT_EQ(watched.all, watched.done);
  EXPECT_EQ(watched.peaks, 1);
  for (const BenchRow& row : report->rows) {
    EXPECT_GT(row.tokens_per_s, 0);
    EXPECT_GE(row.spread, 0);
    EXPECT_GT(row.roofline(), 0);  // nano lies in the caches, so that no share of the memory's speed is too much
    EXPECT_EQ(row.work.index_bytes > 0, row.attention == Attention::kDsa && row.depth == 100);
  }
  const BenchRow& row = report->rows.back();
  EXPECT_EQ(row.phase, Phase::kDecode);
  EXPECT_EQ(row.attention, Attention::kDense);
  EXPECT_EQ(row.batch, 3);
  // Two steps of three tokens, which see 101 and 102 positions of 4 layers.
  EXPECT_EQ(row.work.latent_bytes, 4 * 3 * (101 + 102) * (48 + 16) * 4);
  const Json json = BenchRowJson(row, {.weights = "BF16", .cache = "F32"}, 0);
  EXPECT_EQ(json.at("phase"), "decode");
  EXPECT_FALSE(json.contains("usd_per_million_tokens"));
}

TEST_F(BenchNano, BothFillsReachTheSameDepths) {
  BenchOptions options = Small();
  options.fill_by_prefill = true;
  options.depths = {700};  // more than one step of reading
  Watched watched;
  const auto report = Run(options, watched);
  ASSERT_TRUE(report) << report.error().message;
  ASSERT_EQ(report->rows.size(), 8u);
  EXPECT_EQ(report->rows[0].depth, 700);
  EXPECT_EQ(watched.done, (1 + 3) * 700 + (1 + 3) * 2 * 2 * (8 + 2));
  EXPECT_EQ(watched.all, watched.done);
}

TEST_F(BenchNano, PromptsLongerThanAStepAndBatchesWiderThanOne) {
  BenchOptions options = Small();
  options.depths = {0}, options.batches = {600}, options.attentions = {Attention::kDsa}, options.repetitions = 1;
  options.prompt_tokens = 3, options.decode_tokens = 1;
  Watched watched;
  ASSERT_TRUE(Run(options, watched));
  options.batches = {1}, options.prompt_tokens = 1100;
  ASSERT_TRUE(Run(options, watched));
  options.prompt_tokens = 4000;  // more than the model has: decode alone
  const auto report = Run(options, watched);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->rows.size(), 1u);
  EXPECT_EQ(report->skipped.size(), 1u);
}

TEST_F(BenchNano, NothingToMeasureIsAnErrorWithItsReason) {
  BenchOptions options = Small();
  options.depths = {4096};
  Watched watched;
  const auto report = Run(options, watched);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Code::kInvalidArgument);
  EXPECT_NE(report.error().message.find("depth 4K"), std::string::npos) << report.error().message;
}

}  // namespace
}  // namespace minke
