#include "minke/model/facts.h"

#include <gtest/gtest.h>

#include "minke/tensor/checkpoint.h"

namespace minke {
namespace {

// The published sizes of DeepSeek-V3.2 (docs/model.md, "Cost"): 671.88 G without the MTP layer, 37.48 G for one token,
// 11.62 G in the MTP layer, 36.42 GB of FP8 read per token.
TEST(ModelFacts, CountsDeepseekV32) {
  const WeightCount count = CountWeights(ParseModelConfig(R"({"model_type": "deepseek_v32"})", "x").value());
  EXPECT_NEAR(static_cast<double>(count.all), 671.88e9, 0.005e9);
  EXPECT_NEAR(static_cast<double>(count.used), 37.48e9, 0.005e9);
  EXPECT_NEAR(static_cast<double>(count.mtp), 11.62e9, 0.005e9);
  EXPECT_NEAR(static_cast<double>(count.used_fp8), 36.42e9, 0.005e9);
}

TEST(ModelFacts, OneLayerByHand) {
  const WeightCount count = CountWeights(ParseModelConfig(R"({"model_type": "deepseek_v32", "num_hidden_layers": 1,
      "first_k_dense_replace": 1, "num_mtp_layers": 0, "vocab_size": 10})",
                                                          "x")
                                             .value());
  const int64_t attention = 187105280 + 1536 + 512, indexer = 13959168 + 256, ffn = 396361728, norms = 2 * 7168;
  EXPECT_EQ(count.all, attention + indexer + ffn + norms + 7168 + 2 * 10 * 7168);
  EXPECT_EQ(count.used, count.all - 10 * 7168);
  EXPECT_EQ(count.all_fp8, 187105280 + 13959168 - 458752 + 396361728);
  EXPECT_EQ(count.mtp, 0);
}

TEST(ModelFacts, AnOpenModel) {
  const auto model = Model::Open(MINKE_TEST_DATA "/nano-hf");
  ASSERT_TRUE(model) << model.error().message;
  int64_t elements = 0;
  for (const std::string& name : (*model)->checkpoint().Names())
    elements += (*model)->checkpoint().Find(name)->num_elements();
  const WeightCount count = CountWeights((*model)->config());
  const int64_t copies = 2 * 512 * 128;  // the MTP layer's embedding and head
  EXPECT_EQ(count.all + count.mtp + copies, elements);
  EXPECT_TRUE(UnusedTensors(**model).empty());
  EXPECT_EQ(WeightFormat(**model), "BF16");
  EXPECT_GT(OwnedWeightBytes(**model), 0);
}

}  // namespace
}  // namespace minke
