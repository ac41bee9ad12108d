// Reads every byte of a tensor and says which values no weight may hold.
#pragma once

#include <cstdint>
#include <optional>

#include "minke/base/thread_pool.h"
#include "minke/tensor/tensor_file.h"

namespace minke {

enum class ValueRule {
  kFinite,    // neither NaN nor infinite
  kPositive,  // that, and above zero: block scales
};

struct BadValues {
  int64_t count = 0;  // in blocks (block.h): of blocks
  int64_t first = 0;  // element index, row-major
  float value = 0;    // of the first
};

// Nothing when all values obey `rule`. Integers obey any rule; they are read all the same, so that a file that fails
// to read shows in its Health().
std::optional<BadValues> FindBadValues(const TensorRef& tensor, ValueRule rule, ThreadPool& pool);

}  // namespace minke
