#include "minke/cli/prediction.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

class PredictNano : public testing::Test {
 protected:
  const std::unique_ptr<const Model> model_ = Model::Open(MINKE_MODELS "/nano").value();
  ThreadPool pool_{2};
  SpeedReport Predict(std::vector<int64_t> depths) {
    return PredictSpeed(*model_, *ChooseKernelSet("").value(), pool_, depths).value();
  }
};

TEST_F(PredictNano, EveryDepthThatTheModelHas) {
  const SpeedReport report = Predict({0, 1024, 4096});
  EXPECT_EQ(report.threads, 2);
  ASSERT_EQ(report.rows.size(), 4u);  // two phases
  ASSERT_EQ(report.skipped.size(), 1u);
  EXPECT_EQ(report.skipped[0].depth, 4096);
  EXPECT_EQ(report.skipped[0].error.message, "512 new tokens need 4608 positions, the model has 2048");
  for (const SpeedPrediction& row : report.rows) {
    EXPECT_GT(row.products_s, 0);
    EXPECT_GT(row.attention_s, 0);
    EXPECT_GT(row.rows_s, 0);
    // A decoded token at depth 0 sees less than the model selects.
    EXPECT_EQ(row.selection_s > 0, row.phase == Phase::kPrefill || row.depth > 0);
    EXPECT_EQ(row.tokens, row.phase == Phase::kPrefill ? 512 : 1);
    EXPECT_NEAR(row.tokens_per_s() * row.seconds(), static_cast<double>(row.tokens), 1e-6);
  }
  const std::string text = SpeedText(report);
  EXPECT_NE(text.find("at 1K    prefill"), std::string::npos) << text;
  EXPECT_NE(text.find("not at 4K: 512 new tokens"), std::string::npos) << text;
  const Json json = SpeedJson(report);
  EXPECT_EQ(json.at("rows").size(), 4u);
  EXPECT_GT(json.at("rows")[3].at("ms_per_step").at("selection").get<double>(), 0);
}

TEST_F(PredictNano, NothingFitsNothingIsTimed) {
  const SpeedReport report = Predict({1 << 20});
  EXPECT_TRUE(report.rows.empty());
  EXPECT_EQ(report.skipped.size(), 1u);
}

}  // namespace
}  // namespace minke
