// Rows of one cache (latents or index keys of one layer of one sequence), scattered over pages.
#pragma once

#include <cstdint>

namespace minke {

struct PagedRows {
  float* const* pages = nullptr;  // page p holds positions [p * page_tokens, (p + 1) * page_tokens)
  int64_t offset = 0;             // of the first row inside a page, in floats
  int64_t width = 0;              // floats in a row
  int64_t page_tokens = 64;       // a power of two

  float* row(int64_t pos) const { return pages[pos / page_tokens] + offset + (pos % page_tokens) * width; }
};

}  // namespace minke
