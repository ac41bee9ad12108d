#include "minke/model/rope.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "minke/model/golden_case.h"

namespace minke {
namespace {

// The real DeepSeek-V3 configuration.
ModelConfig V3Config() {
  ModelConfig c;
  c.qk_nope_head_dim = 128;
  c.qk_rope_head_dim = 64;
  c.rope_theta = 10000;
  c.yarn = YarnScaling{.factor = 40,
                       .original_max_position_embeddings = 4096,
                       .beta_fast = 32,
                       .beta_slow = 1,
                       .mscale = 1,
                       .mscale_all_dim = 1,
                       .attention_factor = {}};
  return c;
}

TEST(Rope, YarnFrequenciesOfV3) {
  const auto units = ReadGolden(std::string(MINKE_TEST_DATA) + "/golden/units/units.safetensors");
  const Rope rope(V3Config());
  EXPECT_TRUE(std::ranges::equal(rope.inv_freq(), units.at("yarn.inv_freq").floats));
}

TEST(Rope, PlainFrequenciesOfGlm) {
  const auto units = ReadGolden(std::string(MINKE_TEST_DATA) + "/golden/units/units.safetensors");
  ModelConfig c = V3Config();
  c.yarn.reset();
  c.rope_theta = 1e6;
  const Rope rope(c);
  EXPECT_TRUE(std::ranges::equal(rope.inv_freq(), units.at("plain.inv_freq_1e6").floats));
}

TEST(Rope, SoftmaxScaleOfV32) { EXPECT_NEAR(SoftmaxScale(V3Config()), 0.135234f, 1e-6f); }

// The golden rotations go up to position 131071, where a product in F64 would be 0.004 rad off.
TEST(Rope, RotationsAtFarPositions) {
  const auto units = ReadGolden(std::string(MINKE_TEST_DATA) + "/golden/units/units.safetensors");
  const auto& positions = units.at("rope.positions").ints;
  const Rope rope(V3Config());
  const size_t n = 64;
  float largest = 0;
  for (float x : units.at("rope.x").floats) largest = std::max(largest, std::fabs(x));
  for (const auto& [name, interleaved] : {std::pair{"rope.y_interleaved", true}, std::pair{"rope.y_half", false}})
    for (const KernelSet& set : AllKernelSets()) {
      if (!set.supported()) continue;
      for (size_t i = 0; i < positions.size(); ++i) {
        std::vector<float> x(units.at("rope.x").floats.begin() + static_cast<int64_t>(i * n),
                             units.at("rope.x").floats.begin() + static_cast<int64_t>((i + 1) * n));
        std::vector<float> cos(n / 2), sin(n / 2);
        rope.CosSin(positions[i], cos, sin);
        (interleaved ? set.rope_interleaved : set.rope_half_split)(x.data(), cos.data(), sin.data(), n);
        for (size_t k = 0; k < n; ++k)
          EXPECT_NEAR(x[k], units.at(name).floats[i * n + k], 1e-5f * largest)
              << name << " " << set.name << " pos " << positions[i];
      }
    }
}

}  // namespace
}  // namespace minke
