#include "minke/base/cgroup.h"

#include <algorithm>
#include <fstream>

namespace minke {
namespace {

// A line of /proc/self/cgroup is "number:controllers:path"; version 2 names no controllers.
bool IsLineOf(std::string_view controllers, std::string_view controller) {
  if (controller.empty()) return controllers.empty();
  return ("," + std::string(controllers) + ",").find("," + std::string(controller) + ",") != std::string::npos;
}

// Quota over period; 0 for no limit, which version 2 writes as "max" and version 1 as -1.
double Processors(double quota, double period) { return quota > 0 && period > 0 ? quota / period : 0; }

double ProcessorsOfVersion2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  double quota = 0, period = 0;
  return file >> quota >> period ? Processors(quota, period) : 0;
}

double ProcessorsOfVersion1(const std::string& folder) {
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us"), period_file(folder + "/cpu.cfs_period_us");
  double quota = 0, period = 0;
  return quota_file >> quota && period_file >> period ? Processors(quota, period) : 0;
}

}  // namespace

std::vector<std::string> CgroupFolders(const std::string& root, std::string_view controller) {
  std::string mount = root + "/sys/fs/cgroup";
  if (!controller.empty()) mount.append("/").append(controller);
  std::vector<std::string> folders;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    if (!IsLineOf(std::string_view(line).substr(first + 1, second - first - 1), controller)) continue;
    std::string path = line.substr(second + 1);
    if (!path.starts_with('/') || path.starts_with("/..")) continue;
    for (; path.size() > 1; path.resize(path.rfind('/'))) folders.push_back(mount + path);
  }
  folders.push_back(mount);
  return folders;
}

int CgroupProcessors(const std::string& root) {
  double smallest = 0;
  const auto consider = [&](double processors) {
    if (processors > 0 && (smallest == 0 || processors < smallest)) smallest = processors;
  };
  for (const std::string& folder : CgroupFolders(root, "")) consider(ProcessorsOfVersion2(folder));
  for (const std::string& folder : CgroupFolders(root, "cpu")) consider(ProcessorsOfVersion1(folder));
  if (smallest == 0) return 0;
  return static_cast<int>(std::clamp(smallest + 0.5, 1.0, 1e6));  // to the nearest: 1.5 is 2
}

}  // namespace minke
