// Rows of one cache (latents or index keys of one layer of one sequence), scattered over pages.
#pragma once

#include <cstdint>

namespace minke {

// How a row keeps its numbers. Of a latent row the first `n` (c) may be rounded to 8 bits and the `exact` ones behind
// them (k_pe) to BF16; an index key has no exact ones.
//   kF32   as they are
//   kBF16  all of them, rounded to the nearest
//   kFp8   e4m3 codes, then the exact ones, then an F32 scale for each 128 codes: a power of two (quantize_e4m3)
//   kInt8  the same with codes 128 + value (quantize_i8), scale = largest / 127
// The three parts of kFp8 and kInt8 begin at multiples of 4 bytes; with V3.2's 512 + 64 a row has 656 bytes.
enum class RowFormat : uint8_t { kF32, kBF16, kFp8, kInt8 };

inline constexpr int64_t kScaleGroup = 128;  // numbers with one scale
// The longest index key that is not F32 (index_scores, index_scores_i8).
inline constexpr int64_t kLongestRoundedKey = 2048;

// Bytes before the exact numbers, and before the scales, of a row of 8-bit codes.
constexpr int64_t ExactOffset(int64_t n) { return (n + 3) / 4 * 4; }
constexpr int64_t ScaleOffset(int64_t n, int64_t exact) { return ExactOffset(n) + (2 * exact + 3) / 4 * 4; }

// The width of a row in floats.
constexpr int64_t RowFloats(RowFormat format, int64_t n, int64_t exact) {
  switch (format) {
    case RowFormat::kF32:
      return n + exact;
    case RowFormat::kBF16:
      return (n + exact + 1) / 2;
    default:
      return ScaleOffset(n, exact) / 4 + (n + kScaleGroup - 1) / kScaleGroup;
  }
}

struct PagedRows {
  float* const* pages = nullptr;  // page p holds positions [p * page_tokens, (p + 1) * page_tokens)
  int64_t offset = 0;             // of the first row inside a page, in floats
  int64_t width = 0;              // floats in a row
  int64_t page_tokens = 64;       // a power of two
  RowFormat format = RowFormat::kF32;

  float* row(int64_t pos) const { return pages[pos / page_tokens] + offset + (pos % page_tokens) * width; }
};

}  // namespace minke
