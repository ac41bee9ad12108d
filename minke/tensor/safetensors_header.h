// The JSON header of a safetensors file, read event by event: no tree is built, so a hostile 100 MB header costs
// little more than its own size. What the offsets mean for the bytes behind it is safetensors.cc's business.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/tensor/dtype.h"

namespace minke {

// One entry as written. Offsets count from the end of the header; begin <= end.
struct HeaderEntry {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  int64_t begin = 0, end = 0;
};

// "__metadata__" is checked and dropped. Errors: kDamaged, or kUnsupported for an unknown dtype.
Result<std::map<std::string, HeaderEntry, std::less<>>> ParseHeader(std::string_view json, std::string_view where);

}  // namespace minke
