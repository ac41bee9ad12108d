// Learning rates against steps (V3 report 4.2): linear from 0 to the peak, constant, then a cosine down to the end.
#pragma once

#include <cstdint>

namespace minke {

struct Schedule {
  double peak = 1e-3, end = 1e-3;
  int64_t warmup_steps = 0;
  int64_t decay_steps = 0;  // the last ones of `steps`
  int64_t steps = 1;

  // Of step `step`, from 0. Step 0 of a warm-up has a rate already: peak / warmup_steps.
  double At(int64_t step) const;
};

}  // namespace minke
