#include "minke/cli/bench_cost.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

BenchRow Row(Phase phase, int64_t depth, Attention attention, double tokens_per_s, int64_t batch = 1) {
  BenchRow row;
  row.phase = phase, row.depth = depth, row.attention = attention, row.tokens_per_s = tokens_per_s, row.batch = batch;
  return row;
}

// 3.60 dollars an hour are a tenth of a cent a second: at 10 tokens a second, a hundred dollars for a million.
TEST(BenchCost, OfAMillionTokens) {
  EXPECT_DOUBLE_EQ(UsdPerMillionTokens(3.6, 10), 100);
  EXPECT_DOUBLE_EQ(UsdPerMillionTokens(7.2, 1e6), 0.002);
}

TEST(BenchCost, TheTableHasAColumnForEachPhaseAndAttention) {
  const std::vector<BenchRow> rows = {
      Row(Phase::kPrefill, 0, Attention::kDsa, 1000), Row(Phase::kPrefill, 0, Attention::kDense, 500),
      Row(Phase::kDecode, 0, Attention::kDsa, 10), Row(Phase::kDecode, 0, Attention::kDense, 5),
      Row(Phase::kDecode, 65536, Attention::kDsa, 0.36)};
  EXPECT_EQ(CostTable(rows, 3.6),
            "USD per million tokens at 3.6 USD an hour\n"
            "position  batch  threads    prefill dsa  prefill dense     decode dsa   decode dense\n"
            "       0      1        1          1.000          2.000            100            200\n"
            "     64K      1        1              -              -           2778              -\n");
}

TEST(BenchCost, PanelsHaveALineForEachAttentionAndBatch) {
  const std::vector<BenchRow> rows = {Row(Phase::kDecode, 0, Attention::kDsa, 10),
                                      Row(Phase::kDecode, 4096, Attention::kDsa, 5),
                                      Row(Phase::kDecode, 0, Attention::kDsa, 40, 4)};
  const auto panels = CostPanels(rows, 3.6);
  ASSERT_EQ(panels.size(), 1u);  // nothing was prefilled
  EXPECT_EQ(panels[0].title, "Decoding");
  ASSERT_EQ(panels[0].lines.size(), 2u);
  EXPECT_EQ(panels[0].lines[0].name, "dsa, batch 1");
  EXPECT_EQ(panels[0].lines[0].points, (std::vector<std::pair<double, double>>{{0, 100}, {4, 200}}));
  EXPECT_EQ(panels[0].lines[1].name, "dsa, batch 4");
  EXPECT_EQ(CostPanels(std::span(rows).first(2), 3.6)[0].lines[0].name, "dsa");
}

}  // namespace
}  // namespace minke
