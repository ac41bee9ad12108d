#include "minke/cli/divergence.h"

#include <gtest/gtest.h>

#include <cmath>

namespace minke {
namespace {

const KernelSet& Kernels() { return AllKernelSets().back(); }

TEST(Divergence, OfTwoDistributionsByHand) {
  const std::vector<float> base = {std::log(0.5f), std::log(0.25f), std::log(0.25f)};
  const std::vector<float> other = {std::log(0.25f) + 3, std::log(0.5f) + 3,
                                    std::log(0.25f) + 3};  // a shift is nothing
  Divergence d;
  d.Add(base, other, Kernels());
  EXPECT_NEAR(d.mean(), 0.5 * std::log(2.0) - 0.25 * std::log(2.0), 1e-6);
  EXPECT_EQ(d.same_top(), 0.0);
  d.Add(base, base, Kernels());
  EXPECT_NEAR(d.mean(), 0.125 * std::log(2.0), 1e-6);
  EXPECT_NEAR(d.error(), 0.125 * std::log(2.0), 1e-6);  // two values, half their distance
  EXPECT_EQ(d.same_top(), 0.5);
  EXPECT_NEAR(d.quantile(0), 0, 1e-6);
  EXPECT_NEAR(d.quantile(1), 0.25 * std::log(2.0), 1e-6);
}

TEST(Divergence, OfNothing) {
  const Divergence d;
  EXPECT_EQ(d.rows(), 0);
  EXPECT_EQ(d.mean(), 0.0);
  EXPECT_EQ(d.error(), 0.0);
  EXPECT_EQ(d.quantile(0.5), 0.0);
}

}  // namespace
}  // namespace minke
