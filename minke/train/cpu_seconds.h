// The processor's time of this process, all threads together: what arms of an experiment are compared by, since it does
// not depend on what else the machine does.
#pragma once

#include <ctime>

namespace minke {

inline double CpuSeconds() {
  timespec time;
  if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

}  // namespace minke
