// How much memory this process may still take: the machine's, or its control groups' if that is less.
#pragma once

#include <cstdint>
#include <string>

namespace minke {

// Bytes; the largest int64 when the system does not say. Every control group above the process counts, of version 2 and
// of version 1. `root` stands before /proc and /sys: tests bring their own.
int64_t AvailableMemoryBytes(const std::string& root = "");

// The smallest limit of those control groups; 0 when there is none.
int64_t MemoryLimitBytes(const std::string& root = "");

}  // namespace minke
