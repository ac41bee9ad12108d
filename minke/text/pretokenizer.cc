#include "minke/text/pretokenizer.h"

#include <charconv>

#include "minke/text/utf8.h"

namespace minke {

using namespace char_class;  // NOLINT: eight names of bits

const std::string_view kV3Patterns[3] = {
    R"(\p{N}{1,3})",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
};

std::string NormalizePattern(std::string_view pattern) {
  std::string out;
  while (!pattern.empty()) {
    if (pattern[0] == '\r' || pattern[0] == '\n') {
      out += pattern[0] == '\r' ? "\\r" : "\\n";
      pattern.remove_prefix(1);
    } else if (pattern[0] == '\\' && pattern.size() >= 2) {
      uint32_t code_point = 0;
      // \uXXXX and \x{X...}: the two ways to write a character by number.
      const bool braced = pattern[1] == 'x' && pattern.size() > 2 && pattern[2] == '{';
      const char* begin = pattern.data() + (braced ? 3 : 2);
      const char* end = pattern[1] == 'u' && pattern.size() >= 6 ? begin + 4
                        : braced                                 ? pattern.data() + pattern.size()
                                                                 : begin;
      const auto [stop, error] = std::from_chars(begin, end, code_point, 16);
      const bool complete = braced ? stop != end && *stop == '}' : stop == end;
      if (begin != end && error == std::errc() && complete && code_point > 0x7F && code_point <= 0x10FFFF) {
        AppendUtf8(out, code_point);
        pattern.remove_prefix(static_cast<size_t>(stop - pattern.data()) + (braced ? 1 : 0));
      } else {
        out += pattern.substr(0, 2);
        pattern.remove_prefix(2);
      }
    } else {
      out += pattern[0];
      pattern.remove_prefix(1);
    }
  }
  return out;
}

PieceScanner::Char PieceScanner::At(size_t pos) const {
  const uint8_t byte = static_cast<uint8_t>(text_[pos]);
  if (byte < 0x80) return {latin_[byte], 1};
  const Utf8Char c = DecodeUtf8(text_.substr(pos));
  if (!c.valid) return {0, 1};
  return {classes_[c.code_point], c.size};
}

size_t PieceScanner::Run(size_t pos, uint8_t wanted) const {
  while (pos < text_.size()) {
    const Char c = At(pos);
    if (!(c.classes & wanted) || !Inside(c.classes)) break;
    pos += c.size;
  }
  return pos;
}

std::string_view PieceScanner::Next() {
  const size_t begin = pos_;
  if (begin == text_.size()) return {};
  Char c = At(begin);
  if (c.classes & kNumber) {  // \p{N}{1,3}
    for (int n = 0; n < 3 && (c.classes & kNumber); ++n) {
      pos_ += c.size;
      if (pos_ == text_.size()) break;
      c = At(pos_);
    }
    return text_.substr(begin, pos_ - begin);
  }
  ideograph_ = c.classes & kIdeograph;
  // Where the third pattern matches nothing, the characters up to its next match are one piece.
  for (;;) {
    const size_t end = Match(pos_, c);
    if (end > pos_) {
      if (pos_ == begin) pos_ = end;
      break;
    }
    pos_ += c.size;
    if (pos_ == text_.size()) break;
    c = At(pos_);
    if (!Inside(c.classes)) break;
  }
  return text_.substr(begin, pos_ - begin);
}

size_t PieceScanner::Match(size_t pos, Char first) const {
  const size_t next = pos + first.size;
  const Char second = next < text_.size() ? At(next) : Char{0, 0};
  const bool has_second = second.size > 0 && Inside(second.classes);

  // [!"#$...~][A-Za-z]+   (the 32 are all of ASCII's \p{P} and \p{S})
  if ((first.classes & kMarkup) && static_cast<uint8_t>(text_[pos]) < 0x80 && has_second) {
    size_t end = next;
    while (end < text_.size() && static_cast<uint8_t>((text_[end] | 0x20) - 'a') < 26) ++end;
    if (end > next) return end;
  }
  // [^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
  if (first.classes & kWord) return Run(next, kWord);
  if (!(first.classes & (kNewline | kMarkup)) && has_second && (second.classes & kWord))
    return Run(next + second.size, kWord);
  //  ?[\p{P}\p{S}]+[\r\n]*
  if ((first.classes & kMarkup) || (text_[pos] == ' ' && has_second && (second.classes & kMarkup)))
    return Run(Run(next, kMarkup), kNewline);
  return first.classes & kSpace ? MatchSpace(pos) : pos;
}

// \s*[\r\n]+|\s+(?!\S)|\s+
size_t PieceScanner::MatchSpace(size_t pos) const {
  size_t end = pos, last = pos, newline_end = pos;
  bool before_text = false;  // a character that is not a space follows within this stretch
  while (end < text_.size()) {
    const Char c = At(end);
    if (!(c.classes & kSpace)) {
      before_text = Inside(c.classes);
      break;
    }
    last = end;
    end += c.size;
    if (c.classes & kNewline) newline_end = end;
  }
  if (newline_end > pos) return newline_end;
  return before_text && last > pos ? last : end;
}

}  // namespace minke
