// The tensor that a run went wrong in is named.
#include "minke/train/finite.h"

#include <limits>

#include "minke/train/small_run_testing.h"

namespace minke {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Finite : public SmallRun {
 protected:
  const std::unique_ptr<Parameters> parameters_ = NewModel();
  std::vector<float> gradients_ = std::vector<float>(parameters_->values().size());
  const Parameter& p_ = parameters_->list()[7];

  std::string Message() const {
    const Status status = CheckLoss("step 3", kNaN, kNaN, *parameters_, gradients_);
    return status ? "" : status.error().message;
  }
};

TEST_F(Finite, NothingIsWrongWithAFiniteSum) {
  EXPECT_TRUE(CheckWeights("run", *parameters_));
  EXPECT_TRUE(CheckLoss("step 3", 1, 2, *parameters_, gradients_));
}

TEST_F(Finite, TheGradientNearestToTheLossIsNamed) {
  EXPECT_EQ(Message(), "step 3: the loss is nan; all weights and gradients are finite");
  gradients_[0] = kInfinity;
  gradients_[static_cast<size_t>(p_.offset + p_.size - 1)] = kInfinity;
  EXPECT_EQ(Message(), "step 3: the loss is nan; all weights are finite, and the gradient of " + p_.name +
                           " is the first that is not");
}

TEST_F(Finite, AWeightIsNamedBeforeAnyGradient) {
  gradients_.back() = kInfinity;
  parameters_->values_of(p_)[0] = kInfinity;
  EXPECT_EQ(Message(), "step 3: the weights of " + p_.name + " are not finite");
  EXPECT_EQ(CheckWeights("run", *parameters_).error().code, Code::kFailed);
}

}  // namespace
}  // namespace minke
