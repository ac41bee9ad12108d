// One line being edited: UTF-8 text and a cursor that stands between characters. Knows keys' meanings, not terminals.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace minke {

// Terminal columns of a UTF-8 text: combining marks take none, CJK and emoji two, everything else one.
int DisplayWidth(std::string_view text);

class LineBuffer {
 public:
  const std::string& text() const { return text_; }
  size_t cursor() const { return cursor_; }  // in bytes
  void Set(std::string text);                // cursor at the end

  void Insert(std::string_view text);
  void Left();
  void Right();
  void WordLeft();
  void WordRight();
  void Home() { cursor_ = 0; }
  void End() { cursor_ = text_.size(); }
  void Backspace();
  void Delete();
  void KillToEnd();
  void KillToStart();
  void KillWord();

 private:
  size_t Previous(size_t at) const;  // start of the character before `at`
  size_t Next(size_t at) const;

  std::string text_;
  size_t cursor_ = 0;
};

}  // namespace minke
