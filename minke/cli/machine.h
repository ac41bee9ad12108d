// The machine as `minke doctor` and `minke bench` see it: what the operating system says, and the speed of a disk. What
// processor and memory can do is measured in peaks.h.
#pragma once

#include <cstdint>
#include <string>

#include "minke/base/json.h"
#include "minke/base/result.h"

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

Json MachineJson(const Machine& machine);  // {"cpu": ..., "memory": ...}

struct DiskSpeed {
  double bytes_per_s = 0;
  bool direct = false;  // past the page cache; otherwise the file system may have answered from memory
};
// Writes a temporary file of 256 MiB into `folder`, reads it back once as weights are (file_reader.h) and removes it.
// Errors: kFailed.
Result<DiskSpeed> MeasureDiskRead(const std::string& folder);

}  // namespace minke
