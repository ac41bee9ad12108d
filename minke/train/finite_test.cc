// The tensor that a run went wrong in is named.
#include "minke/train/finite.h"

#include <algorithm>
#include <limits>

#include "minke/train/small_run_testing.h"

namespace minke {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Finite : public SmallRun {
 protected:
  const std::unique_ptr<Parameters> parameters_ = NewModel();
  std::vector<float> gradients_ = std::vector<float>(parameters_->values().size());
  const Parameter& p_ = parameters_->list()[7];

  const Parameter& Named(std::string_view name) const {
    return *std::ranges::find(parameters_->list(), name, &Parameter::name);
  }
  void Break(const Parameter& p) { gradients_[static_cast<size_t>(p.offset + p.size - 1)] = kInfinity; }
};

TEST_F(Finite, WhereAllIsFiniteNothingIsNamed) {
  EXPECT_TRUE(CheckWeights("run", *parameters_));
  EXPECT_EQ(BrokenTensor(*parameters_, gradients_), "");
  EXPECT_EQ(WhatIsNotFinite(*parameters_, gradients_), "all weights and gradients are finite");
}

// From the embedding to the head, each is named instead of those before it.
TEST_F(Finite, TheGradientNearestToTheLossIsNamed) {
  for (const char* name :
       {"model.embed_tokens.weight", "model.layers.0.self_attn.o_proj.weight",
        "model.layers.1.self_attn.q_a_proj.weight", "model.layers.2.eh_proj.weight", "lm_head.weight"}) {
    Break(Named(name));
    EXPECT_EQ(WhatIsNotFinite(*parameters_, gradients_),
              fmt::format("all weights are finite, and the gradient of {} is not", name));
  }
}

TEST_F(Finite, AWeightIsNamedBeforeAnyGradient) {
  Break(Named("lm_head.weight"));
  parameters_->values_of(p_)[0] = kInfinity;
  EXPECT_EQ(WhatIsNotFinite(*parameters_, gradients_), "the weights of " + p_.name + " are not finite");
  EXPECT_EQ(CheckWeights("run", *parameters_).error().message, "run: the weights of " + p_.name + " are not finite");
}

}  // namespace
}  // namespace minke
