#include "minke/cli/line_buffer.h"

#include <cstdint>

namespace minke {
namespace {

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Decodes the character at `at`; broken bytes count as themselves.
uint32_t CodePoint(std::string_view text, size_t at, size_t end) {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0xC0) return first;
  uint32_t point = first & (first < 0xE0 ? 0x1Fu : first < 0xF0 ? 0x0Fu : 0x07u);
  for (size_t i = at + 1; i < end; ++i) point = point << 6 | (static_cast<unsigned char>(text[i]) & 0x3Fu);
  return point;
}

struct Range {
  uint32_t first, last;
};
// The blocks that matter at a prompt, from Unicode's East Asian Width (W, F) and its combining marks.
constexpr Range kWide[] = {{0x1100, 0x115F},   {0x2E80, 0x303E},  {0x3041, 0x33FF}, {0x3400, 0x4DBF},
                           {0x4E00, 0x9FFF},   {0xA000, 0xA4CF},  {0xAC00, 0xD7A3}, {0xF900, 0xFAFF},
                           {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},  {0xFFE0, 0xFFE6}, {0x1F300, 0x1F64F},
                           {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD}};
constexpr Range kNone[] = {{0x0300, 0x036F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}};

template <size_t n>
bool In(const Range (&ranges)[n], uint32_t point) {
  for (const Range& range : ranges) {
    if (point >= range.first && point <= range.last) return true;
  }
  return false;
}

}  // namespace

int DisplayWidth(std::string_view text) {
  int width = 0;
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    while (end < text.size() && IsContinuation(text[end])) ++end;
    const uint32_t point = CodePoint(text, at, end);
    width += In(kNone, point) ? 0 : In(kWide, point) ? 2 : 1;
    at = end;
  }
  return width;
}

size_t LineBuffer::Previous(size_t at) const {
  if (at > 0) --at;
  while (at > 0 && IsContinuation(text_[at])) --at;
  return at;
}

size_t LineBuffer::Next(size_t at) const {
  if (at < text_.size()) ++at;
  while (at < text_.size() && IsContinuation(text_[at])) ++at;
  return at;
}

void LineBuffer::Set(std::string text) {
  text_ = std::move(text);
  cursor_ = text_.size();
}

void LineBuffer::Insert(std::string_view text) {
  text_.insert(cursor_, text);
  cursor_ += text.size();
}

void LineBuffer::Left() { cursor_ = Previous(cursor_); }
void LineBuffer::Right() { cursor_ = Next(cursor_); }

void LineBuffer::WordLeft() {
  while (cursor_ > 0 && text_[Previous(cursor_)] == ' ') Left();
  while (cursor_ > 0 && text_[Previous(cursor_)] != ' ') Left();
}

void LineBuffer::WordRight() {
  while (cursor_ < text_.size() && text_[cursor_] == ' ') Right();
  while (cursor_ < text_.size() && text_[cursor_] != ' ') Right();
}

void LineBuffer::Backspace() {
  const size_t before = Previous(cursor_);
  text_.erase(before, cursor_ - before);
  cursor_ = before;
}

void LineBuffer::Delete() { text_.erase(cursor_, Next(cursor_) - cursor_); }
void LineBuffer::KillToEnd() { text_.erase(cursor_); }

void LineBuffer::KillToStart() {
  text_.erase(0, cursor_);
  cursor_ = 0;
}

void LineBuffer::KillWord() {
  const size_t end = cursor_;
  WordLeft();
  text_.erase(cursor_, end - cursor_);
}

}  // namespace minke
