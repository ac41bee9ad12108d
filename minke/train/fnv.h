// FNV-1a, 64 bits: the same number for the same bytes on every machine. Not for adversaries.
#pragma once

#include <cstdint>
#include <string_view>

namespace minke {

inline constexpr uint64_t kFnvStart = 0xCBF29CE484222325;

// Of what stood before, whose hash is `hash`, and then `text`.
inline uint64_t Fnv1a(std::string_view text, uint64_t hash = kFnvStart) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash;
}

}  // namespace minke
