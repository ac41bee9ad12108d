#include "minke/cli/prediction.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

class PredictNano : public testing::Test {
 protected:
  const std::unique_ptr<const Model> model_ = Model::Open(MINKE_TEST_DATA "/nano-hf").value();
  ThreadPool pool_{2};
  SpeedReport Predict(std::vector<int64_t> depths, const CacheFlags& cache = {}) {
    return PredictSpeed(*model_, *ChooseKernelSet("").value(), pool_, {std::move(depths), cache}).value();
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

TEST_F(PredictNano, TheCacheIsTheOneThatIsAskedFor) {
  for (const char* type : {"fp8", "int8"}) {
    const SpeedReport report = Predict({1024}, {.type = type, .index_precision = ""});
    ASSERT_EQ(report.rows.size(), 2u);
    for (const SpeedPrediction& row : report.rows) EXPECT_GT(std::min(row.attention_s, row.selection_s), 0) << type;
    EXPECT_NE(SpeedText(report).find(", cache " + CacheText(report.cache) + "\n"), std::string::npos);
  }
  const SpeedReport mixed = Predict({0}, {.type = "int8", .index_precision = "exact"});
  EXPECT_EQ(SpeedJson(mixed).at("cache"), "INT8, index keys F32");
}

TEST_F(PredictNano, KeysIn8BitsAreScoredIn8Bits) {
  KernelSet kernels = *ChooseKernelSet("").value();
  kernels.index_scores = [](const float*, const float*, int64_t, int64_t, const PagedRows&, int64_t, int64_t, float*) {
    ADD_FAILURE() << "takes no keys of 8 bits";
  };
  const PredictionFlags flags{.depths = {1024}, .cache = {.type = "f32", .index_precision = "int8"}};
  const auto report = PredictSpeed(*model_, kernels, pool_, flags);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->rows.size(), 2u);
}

TEST_F(PredictNano, NothingFitsNothingIsTimed) {
  const SpeedReport report = Predict({1 << 20});
  EXPECT_TRUE(report.rows.empty());
  EXPECT_EQ(report.skipped.size(), 1u);
}

}  // namespace
}  // namespace minke
