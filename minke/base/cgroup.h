// The control groups of this process: where their limits lie, and how many processors they grant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace minke {

// The folders of the process's own group and of all above it, the own first. `controller` is version 1's, which mounts
// each below its own name ("memory", "cpu"); "" is version 2. `root` stands before /proc and /sys: tests bring their
// own. In a container the path may be the host's, which does not exist here, or lead out of what is mounted; then the
// mount, always the last, is the nearest group there is.
std::vector<std::string> CgroupFolders(const std::string& root, std::string_view controller);

// Whole processors, at least 1, that the smallest quota of any of those groups comes to; 0 when there is none.
int CgroupProcessors(const std::string& root = "");

}  // namespace minke
