// GPT-2's alphabet: tokenizer.json writes each byte of a token as one visible character.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "minke/text/utf8.h"

namespace minke {

class ByteAlphabet {
 public:
  constexpr ByteAlphabet() {
    // Printable Latin-1 stands for itself; the other 68 bytes take U+0100 and up, in order.
    for (auto& byte : byte_of_) byte = -1;
    uint16_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      const uint16_t code_point = itself ? static_cast<uint16_t>(byte) : next++;
      code_point_of_[byte] = code_point;
      byte_of_[code_point] = static_cast<int16_t>(byte);
    }
  }

  uint32_t CodePoint(uint8_t byte) const { return code_point_of_[byte]; }

  // The bytes that `written` stands for; nothing if a character is not of the alphabet.
  std::optional<std::string> Bytes(std::string_view written) const {
    std::string bytes;
    while (!written.empty()) {
      const Utf8Char c = DecodeUtf8(written);
      if (!c.valid || c.code_point >= byte_of_.size() || byte_of_[c.code_point] < 0) return std::nullopt;
      bytes.push_back(static_cast<char>(byte_of_[c.code_point]));
      written.remove_prefix(c.size);
    }
    return bytes;
  }

 private:
  std::array<uint16_t, 256> code_point_of_{};
  std::array<int16_t, 0x144> byte_of_{};
};

inline constexpr ByteAlphabet kByteAlphabet;

}  // namespace minke
