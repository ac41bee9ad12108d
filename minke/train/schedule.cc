#include "minke/train/schedule.h"

#include <cmath>
#include <numbers>

namespace minke {

double Schedule::At(int64_t step) const {
  if (step < warmup_steps) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  const int64_t into_decay = step - (steps - decay_steps);
  if (decay_steps == 0 || into_decay < 0) return peak;
  const double part = static_cast<double>(into_decay + 1) / static_cast<double>(decay_steps);
  return end + (peak - end) * 0.5 * (1 + std::cos(std::numbers::pi * (part < 1 ? part : 1)));
}

}  // namespace minke
