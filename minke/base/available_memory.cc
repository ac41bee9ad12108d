#include "minke/base/available_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace minke {
namespace {

// The number after `key` in a file of "key number" lines; with an empty key the file's first word. Nothing for
// a missing file or a word like "max".
std::optional<int64_t> ReadNumber(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  int64_t number = 0;
  while (!key.empty() && file >> word && word != key) {
  }
  if (file >> number) return number;
  return std::nullopt;
}

}  // namespace

int64_t AvailableMemoryBytes() {
  int64_t available = std::numeric_limits<int64_t>::max();
  if (const auto kib = ReadNumber("/proc/meminfo", "MemAvailable:")) available = *kib * 1024;
  const auto limit = ReadNumber("/sys/fs/cgroup/memory.max", "");
  const auto current = ReadNumber("/sys/fs/cgroup/memory.current", "");
  if (limit && current) {
    // Cached file pages count as used but are given up on demand.
    const int64_t reclaimable = ReadNumber("/sys/fs/cgroup/memory.stat", "inactive_file").value_or(0);
    available = std::min(available, std::max<int64_t>(*limit - *current + reclaimable, 0));
  }
  return available;
}

}  // namespace minke
