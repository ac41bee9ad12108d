#include "minke/base/available_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "minke/base/cgroup.h"

namespace minke {
namespace {

// Version 1 writes "no limit" as the largest whole page.
constexpr int64_t kNoLimit = int64_t{1} << 60;

// The number after `key` in a file of "key number" lines; with an empty key the file's first word. Nothing for
// a missing file or a word like "max".
std::optional<int64_t> ReadNumber(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  std::string word;
  int64_t number = 0;
  while (!key.empty() && file >> word && word != key) {
  }
  if (file >> number) return number;
  return std::nullopt;
}

// What the two versions call the same things.
struct Names {
  const char *controller, *limit, *used, *reclaimable;
};
constexpr Names kVersion2 = {"", "/memory.max", "/memory.current", "inactive_file"};
constexpr Names kVersion1 = {"memory", "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file"};

struct Limit {
  int64_t bytes = 0, left = 0;
};

std::vector<Limit> Limits(const std::string& root) {
  std::vector<Limit> limits;
  for (const Names& names : {kVersion2, kVersion1}) {
    for (const std::string& folder : CgroupFolders(root, names.controller)) {
      const auto limit = ReadNumber(folder + names.limit, "");
      if (!limit || *limit >= kNoLimit) continue;
      const int64_t used = ReadNumber(folder + names.used, "").value_or(0);
      // Cached file pages count as used but are given up on demand.
      const int64_t reclaimable = ReadNumber(folder + "/memory.stat", names.reclaimable).value_or(0);
      limits.push_back({*limit, std::max<int64_t>(*limit - used + reclaimable, 0)});
    }
  }
  return limits;
}

}  // namespace

int64_t AvailableMemoryBytes(const std::string& root) {
  int64_t available = std::numeric_limits<int64_t>::max();
  if (const auto kib = ReadNumber(root + "/proc/meminfo", "MemAvailable:")) available = *kib * 1024;
  for (const Limit& limit : Limits(root)) available = std::min(available, limit.left);
  return available;
}

int64_t MemoryLimitBytes(const std::string& root) {
  int64_t smallest = 0;
  for (const Limit& limit : Limits(root)) {
    if (smallest == 0 || limit.bytes < smallest) smallest = limit.bytes;
  }
  return smallest;
}

}  // namespace minke
