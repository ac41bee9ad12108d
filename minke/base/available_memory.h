// How much memory this process may still take: the machine's, or its control group's if that is less.
#pragma once

#include <cstdint>

namespace minke {

// Bytes; the largest int64 when the system does not say.
int64_t AvailableMemoryBytes();

}  // namespace minke
