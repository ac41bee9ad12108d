#include "minke/tensor/dtype.h"

#include <array>
#include <cmath>
#include <utility>

namespace minke {
namespace {

constexpr std::array<std::pair<std::string_view, DType>, 12> kNames = {{
    {"F32", DType::kF32},
    {"F16", DType::kF16},
    {"BF16", DType::kBF16},
    {"F8_E4M3", DType::kF8E4M3},
    {"F8_E8M0", DType::kF8E8M0},
    {"F64", DType::kF64},
    {"I64", DType::kI64},
    {"I32", DType::kI32},
    {"I16", DType::kI16},
    {"I8", DType::kI8},
    {"U8", DType::kU8},
    {"BOOL", DType::kBool},
}};
// Of what no safetensors file holds.
constexpr std::array<std::pair<std::string_view, DType>, 10> kOtherNames = {{
    {"Q8", DType::kQ8},
    {"Q6", DType::kQ6},
    {"Q4", DType::kQ4},
    {"Q8_0", DType::kQ8_0},
    {"Q4_0", DType::kQ4_0},
    {"Q5_0", DType::kQ5_0},
    {"Q5_1", DType::kQ5_1},
    {"Q4_K", DType::kQ4_K},
    {"Q5_K", DType::kQ5_K},
    {"Q6_K", DType::kQ6_K},
}};

}  // namespace

std::string_view DTypeName(DType dtype) {
  for (const auto& [name, type] : kNames)
    if (type == dtype) return name;
  for (const auto& [name, type] : kOtherNames)
    if (type == dtype) return name;
  return "?";
}

std::optional<DType> DTypeFromName(std::string_view name) {
  for (const auto& [known, type] : kNames)
    if (known == name) return type;
  return std::nullopt;
}

float F16ToFloat(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1.0p-24f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

float E4M3ToFloat(uint8_t code) {
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  float magnitude;
  if (exponent == 15 && mantissa == 7) {
    magnitude = std::bit_cast<float>(0x7FC00000u);
  } else if (exponent == 0) {
    magnitude = static_cast<float>(mantissa) * 0x1.0p-9f;
  } else {
    magnitude =
        std::bit_cast<float>((static_cast<uint32_t>(exponent + 120) << 23) | (static_cast<uint32_t>(mantissa) << 20));
  }
  return (code & 0x80) ? -magnitude : magnitude;
}

float E8M0ToFloat(uint8_t code) {
  if (code == 255) return std::bit_cast<float>(0x7FC00000u);
  return std::ldexp(1.0f, int{code} - 127);
}

uint16_t FloatToBF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

uint16_t FloatToF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7FFFFFFF;
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  if (magnitude > 0x7F800000) return sign | 0x7E00;
  if (magnitude >= 0x477FF000) return sign | 0x7C00;  // 65520 and above
  if (magnitude < 0x38800000)                         // subnormal: whole steps of 2^-24, and 1024 is the next exponent
    return sign | static_cast<uint16_t>(std::nearbyint(std::bit_cast<float>(magnitude) * 0x1.0p24f));
  const uint32_t rounded = magnitude + 0xFFF + ((magnitude >> 13) & 1);
  return sign | static_cast<uint16_t>((rounded - (112u << 23)) >> 13);
}

uint8_t FloatToE4M3(float value) {
  if (std::isnan(value)) return 0x7F;
  const uint8_t sign = std::signbit(value) ? 0x80 : 0;
  const float magnitude = std::fabs(value);
  if (magnitude >= 448.0f) return sign | 0x7E;
  // Spacing is 2^-9 below 2^-6 and 2^(exponent - 3) above; nearbyint rounds ties to even.
  const int exponent = magnitude < 0x1.0p-6f ? -6 : std::ilogb(magnitude);
  const int steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 3 - exponent)));
  // steps is 0..7 for a subnormal, else 8..16; 16 carries into the next exponent by itself.
  return static_cast<uint8_t>(sign | ((exponent + 6) * 8 + steps));
}

}  // namespace minke
