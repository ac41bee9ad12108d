#include "minke/model/router.h"

#include <gtest/gtest.h>

#include <limits>

#include "minke/model/golden_case.h"

namespace minke {
namespace {

ModelConfig V3Routing() {
  ModelConfig c;
  c.family = Family::kDeepseekV3;
  c.n_routed_experts = 256;
  c.num_experts_per_tok = 8;
  c.n_group = 8;
  c.topk_group = 4;
  c.topk_method = TopkMethod::kNoauxTc;
  c.scoring_func = RouterScore::kSigmoid;
  c.norm_topk_prob = true;
  c.routed_scaling_factor = 2.5f;
  return c;
}

TEST(Route, RealV3Shape) {
  const auto units = ReadGolden(std::string(MINKE_TEST_DATA) + "/golden/units/units.safetensors");
  const ModelConfig c = V3Routing();
  for (const KernelSet& set : AllKernelSets()) {
    if (!set.supported()) continue;
    for (size_t row = 0; row < 32; ++row) {
      const auto& logits = units.at("route.logits").floats;
      std::vector<float> scores(logits.begin() + static_cast<int64_t>(row * 256),
                                logits.begin() + static_cast<int64_t>((row + 1) * 256));
      std::vector<float> scratch(256), weights(8);
      std::vector<int32_t> experts(8);
      Route(c, set, scores, units.at("route.bias").floats, scratch, experts, weights);
      for (size_t i = 0; i < 8; ++i) {
        ASSERT_EQ(experts[i], units.at("route.experts").ints[row * 8 + i]) << set.name << " row " << row;
        EXPECT_NEAR(weights[i], units.at("route.weights").floats[row * 8 + i], 1e-5f) << set.name;
      }
    }
  }
}

// A negative bias makes every kept expert negative; experts of dropped groups must still lose (-inf, not 0).
TEST(Route, DroppedGroupsStayOutWhenAllScoresAreNegative) {
  ModelConfig c = V3Routing();
  c.n_routed_experts = 4;
  c.n_group = 2;
  c.topk_group = 1;
  c.num_experts_per_tok = 2;
  std::vector<float> scores = {0.0f, 0.0f, 1.0f, 1.0f}, scratch(4), weights(2);
  const std::vector<float> bias = {-3.0f, -3.0f, -4.0f, -4.0f};
  std::vector<int32_t> experts(2);
  Route(c, **ChooseKernelSet("reference"), scores, bias, scratch, experts, weights);
  EXPECT_EQ(experts, (std::vector<int32_t>{0, 1}));
}

TEST(Route, NanAndInfinityChooseValidExperts) {
  const ModelConfig c = V3Routing();
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  for (float bad : {nan, inf, -inf}) {
    std::vector<float> scores(256, bad), scratch(256), weights(8), bias(256, bad);
    std::vector<int32_t> experts(8);
    Route(c, **ChooseKernelSet("reference"), scores, bias, scratch, experts, weights);
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_GE(experts[i], 0);
      EXPECT_LT(experts[i], 256);
      if (i > 0) {
        EXPECT_LT(experts[i - 1], experts[i]);
      }
    }
  }
}

}  // namespace
}  // namespace minke
