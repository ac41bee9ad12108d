// UTF-8 one character at a time. Broken bytes are an answer here, never an error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace minke {

struct Utf8Char {
  uint32_t code_point = 0;
  uint8_t size = 0;  // bytes; of a broken sequence the longest start of a valid one, at least 1
  bool valid = false;
  bool truncated = false;  // not valid, and further bytes could still make it so
};

// `bytes` must not be empty. Overlong forms, surrogates and numbers above U+10FFFF are broken at the byte that shows
// it.
inline Utf8Char DecodeUtf8(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true, false};
  if (lead < 0xC2 || lead > 0xF4) return {0, 1, false, false};
  const uint8_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte has a narrower range after four of the leads (Unicode table 3-7).
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  uint32_t code_point = lead & (0x7Fu >> size);
  for (uint8_t i = 1; i < size; ++i) {
    if (i >= bytes.size()) return {0, i, false, true};
    const uint8_t b = byte(i);
    if (b < (i == 1 ? low : 0x80) || b > (i == 1 ? high : 0xBF)) return {0, i, false, false};
    code_point = code_point << 6 | (b & 0x3Fu);
  }
  return {code_point, size, true, false};
}

inline void AppendUtf8(std::string& out, uint32_t code_point) {
  const auto put = [&](uint32_t b) { out.push_back(static_cast<char>(b)); };
  if (code_point < 0x80) return put(code_point);
  if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
  } else {
    if (code_point < 0x10000) {
      put(0xE0 | code_point >> 12);
    } else {
      put(0xF0 | code_point >> 18);
      put(0x80 | (code_point >> 12 & 0x3F));
    }
    put(0x80 | (code_point >> 6 & 0x3F));
  }
  put(0x80 | (code_point & 0x3F));
}

}  // namespace minke
