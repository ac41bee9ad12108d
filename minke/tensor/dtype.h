// Element types as safetensors and GGUF name them, and exact conversions of single values.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

namespace minke {

// kQ8, kQ6 and kQ4 are minke's own tiles (tile.h): types of a WeightView, never of a tensor in a file, which holds
// their bytes as U8. Those from kQ8_0 on are GGUF's blocks (block.h), which no safetensors file holds.
enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kF8E8M0,
  kF64,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  kQ8,
  kQ6,
  kQ4,
  kQ8_0,
  kQ4_0,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K
};

// Of one element; tiles and blocks have no such size (TileBytes, RowBytes).
constexpr int64_t ElementBytes(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
    case DType::kI16:
      return 2;
    default:
      return 1;
  }
}

std::string_view DTypeName(DType dtype);                    // "BF16", "Q8", "Q4_K"
std::optional<DType> DTypeFromName(std::string_view name);  // nullopt for a name that no file may use

inline float BF16ToFloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
float F16ToFloat(uint16_t bits);
float E4M3ToFloat(uint8_t code);    // 0x7F and 0xFF are NaN; there is no infinity
float E8M0ToFloat(uint8_t code);    // 2^(code - 127); 255 is NaN
uint16_t FloatToBF16(float value);  // nearest, ties to even; NaN stays NaN
uint16_t FloatToF16(float value);   // the same; what is beyond 65504 becomes infinite
uint8_t FloatToE4M3(float value);   // nearest, ties to even, saturating at 448; NaN becomes 0x7F

}  // namespace minke
