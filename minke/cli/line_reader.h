// Lines from a person or a pipe. On a terminal: a small editor with arrows, history, word keys and pasted newlines;
// else plain reading. Nothing is kept on disk.
#pragma once

#include <string>
#include <vector>

#include "minke/cli/line_buffer.h"

namespace minke {

class LineReader {
 public:
  enum class Outcome { kLine, kEnd, kInterrupt };

  explicit LineReader(bool edit) : edit_(edit) {}  // edit: standard input and error are a terminal
  // The line without its newline. kInterrupt: Ctrl-C at the prompt.
  Outcome Read(const std::string& prompt, std::string& line);

 private:
  Outcome ReadPlain(std::string& line);
  Outcome Edit(const std::string& prompt, std::string& line);
  bool HandleEscape(LineBuffer& buffer, size_t& place);
  void Recall(LineBuffer& buffer, size_t& place, bool older);
  void Redraw(const std::string& prompt, const LineBuffer& buffer);
  int ReadByte();  // -1 at the end, -2 after a signal

  bool edit_;
  std::string pending_;  // read from standard input, not used yet
  std::vector<std::string> history_;
  std::string draft_;   // what was typed before history was walked
  int cursor_row_ = 0;  // of the last drawing, below the prompt's first row
};

}  // namespace minke
