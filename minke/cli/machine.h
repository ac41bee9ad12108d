// The machine as `minke doctor` sees it: what the operating system says, and two short measurements.
#pragma once

#include <cstdint>
#include <string>

#include "minke/base/result.h"
#include "minke/base/thread_pool.h"

namespace minke {

struct Machine {
  std::string cpu;           // "AMD EPYC ..."; "" if the system does not say
  std::string architecture;  // "x86_64"
  int cores_online = 0;
  int64_t memory_bytes = 0;                          // whole machine
  int64_t available_bytes = 0;                       // what this process may still take
  int64_t limit_bytes = 0;                           // of the control group; 0 without one
  std::string transparent_huge_pages;                // "always", "madvise", "never"; "" unknown
  int64_t huge_pages_free = 0, huge_page_bytes = 0;  // reserved ones
};
Machine ReadMachine();

// Bytes per second that all threads of the pool together read from memory; about a third of a second.
double MeasureMemoryBandwidth(ThreadPool& pool, int64_t available_bytes);

struct DiskSpeed {
  double bytes_per_s = 0;
  bool direct = false;  // past the page cache; otherwise the file system may have answered from memory
};
// Writes a temporary file of 64 MiB into `folder`, reads it back once and removes it. Errors: kFailed.
Result<DiskSpeed> MeasureDiskRead(const std::string& folder);

}  // namespace minke
