// The one type that every room shares for an entry of the vocabulary.
#pragma once

#include <cstdint>

namespace minke {
using TokenId = int32_t;
}  // namespace minke
