#include "minke/train/schedule.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

TEST(Schedule, RisesStaysAndFalls) {
  const Schedule s{.peak = 1, .end = 0.1, .warmup_steps = 4, .decay_steps = 3, .steps = 10};
  const double want[] = {0.25, 0.5, 0.75, 1, 1, 1, 1, 0.775, 0.325, 0.1};  // cosine at 1/3, 2/3, 1 of the way
  for (int64_t step = 0; step < 10; ++step) EXPECT_NEAR(s.At(step), want[step], 1e-12) << step;
  EXPECT_NEAR(s.At(11), 0.1, 1e-12);
}

TEST(Schedule, WithoutWarmupOrDecayIsConstant) {
  const Schedule s{.peak = 2, .end = 1, .steps = 5};
  for (const int64_t step : {0, 3, 4, 5}) EXPECT_EQ(s.At(step), 2);
}

}  // namespace
}  // namespace minke
