// How long training takes.
#pragma once

#include <chrono>
#include <ctime>

namespace minke {

// The processor's time of this process, all threads together: what arms of an experiment are compared by, since it does
// not depend on what else the machine does.
inline double CpuSeconds() {
  timespec time;
  if (::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

inline double WallSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace minke
