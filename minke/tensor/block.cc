#include "minke/tensor/block.h"

#include <cstring>

namespace minke {
namespace {

float F16At(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return F16ToFloat(bits);
}

// Code i of 32 whose nibbles lie at p: the first sixteen below, the others above.
int NibbleOf32(const uint8_t* p, int64_t i) { return i < 16 ? p[i] & 15 : p[i - 16] >> 4; }
int BitOf32(const uint8_t* p, int64_t i) { return p[i / 8] >> (i % 8) & 1; }

// Group g of the eight scales and minima of 6 bits: the first four in the low six bits of bytes 0 .. 7; the others in
// the nibbles of bytes 8 .. 11 with their topmost two bits above the first four.
struct ScaleAndMinimum {
  int scale, minimum;
};
ScaleAndMinimum SixBits(const uint8_t* p, int64_t g) {
  if (g < 4) return {p[g] & 63, p[g + 4] & 63};
  return {(p[g + 4] & 15) | (p[g - 4] >> 6) << 4, (p[g + 4] >> 4) | (p[g] >> 6) << 4};
}

float KValue(const uint8_t* block, const uint8_t* nibbles, const uint8_t* high, int64_t i) {
  const int64_t g = i / 32, l = i % 32;
  int code = nibbles[g / 2 * 32 + l] >> (g % 2 * 4) & 15;
  if (high) code |= (high[l] >> g & 1) << 4;
  const ScaleAndMinimum s = SixBits(block + 4, g);
  const float scale = F16At(block) * static_cast<float>(s.scale);
  const float minimum = F16At(block + 2) * static_cast<float>(s.minimum);
  return scale * static_cast<float>(code) - minimum;
}

float Q6KValue(const uint8_t* block, int64_t i) {
  const int64_t half = i / 128, group = i % 128 / 32, l = i % 32;
  const uint8_t* low = block + half * 64;
  const uint8_t* high = block + 128 + half * 32;
  const int code = (low[group % 2 * 32 + l] >> (group / 2 * 4) & 15) | (high[l] >> (2 * group) & 3) << 4;
  const auto scale = static_cast<int8_t>(block[192 + i / 16]);
  return F16At(block + 208) * static_cast<float>(scale) * static_cast<float>(code - 32);
}

}  // namespace

float BlockValue(DType dtype, const void* data, int64_t i) {
  const auto* block = static_cast<const uint8_t*>(data);
  switch (dtype) {
    case DType::kQ8_0:
      return F16At(block) * static_cast<float>(static_cast<int8_t>(block[2 + i]));
    case DType::kQ4_0:
      return static_cast<float>(NibbleOf32(block + 2, i) - 8) * F16At(block);
    case DType::kQ5_0:
      return static_cast<float>((NibbleOf32(block + 6, i) | BitOf32(block + 2, i) << 4) - 16) * F16At(block);
    case DType::kQ5_1:
      return static_cast<float>(NibbleOf32(block + 8, i) | BitOf32(block + 4, i) << 4) * F16At(block) +
             F16At(block + 2);
    case DType::kQ4_K:
      return KValue(block, block + 16, nullptr, i);
    case DType::kQ5_K:
      return KValue(block, block + 48, block + 16, i);
    default:
      return Q6KValue(block, i);
  }
}

}  // namespace minke
