// What standard output and standard error are connected to, and how to speak to people there.
#pragma once

#include <string>
#include <string_view>

namespace minke {

bool IsTerminal(int fd);
int TerminalWidth();  // COLUMNS, else the terminal's, else 80

// `mode` is auto, always or never. Auto: a terminal, or CLICOLOR_FORCE; never with TERM=dumb or NO_COLOR.
bool UseColor(int fd, std::string_view mode);

// Control characters become '?', those of one byte and those of two (U+0080 to U+009F): nothing that a model writes may
// drive the terminal. Newlines and tabs stay.
std::string WithoutControls(std::string_view text);

// The same for a line: newlines and tabs (a model's file names and tensor names may hold any) become spaces.
std::string OneLine(std::string_view text);

void WriteStderr(std::string_view text);  // errors ignored: there is nowhere to report them

// One line on standard error that is redrawn at most 10 times a second and cleared at the end. Without a terminal it
// prints a plain line at every 10 % or 30 s. Does nothing when not `enabled`.
class Progress {
 public:
  Progress(std::string what, std::string unit, bool enabled);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Update(double done, double total);
  void Clear();

 private:
  std::string what_, unit_;
  bool enabled_, terminal_, drawn_ = false;
  double start_s_, last_s_;
  int last_tenth_ = 0;
};

double MonotonicSeconds();

}  // namespace minke
