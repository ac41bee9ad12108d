#include "minke/cli/line_reader.h"

#include <fmt/format.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>

#include "minke/cli/signals.h"
#include "minke/cli/terminal.h"

namespace minke {
namespace {

constexpr int kEndOfInput = -1, kSignal = -2;  // of ReadByte

// Raw keys while it lives; output stays cooked.
class RawMode {
 public:
  RawMode() {
    active_ = ::tcgetattr(STDIN_FILENO, &saved_) == 0;
    termios raw = saved_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG | IEXTEN);
    raw.c_iflag &= ~static_cast<tcflag_t>(ICRNL | IXON);
    raw.c_cc[VMIN] = 1, raw.c_cc[VTIME] = 0;
    if (active_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    WriteStderr("\033[?2004h");  // pasted text comes in brackets
  }
  ~RawMode() {
    WriteStderr("\033[?2004l");
    if (active_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_);
  }
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;

 private:
  termios saved_{};
  bool active_ = false;
};

// A newline inside the line is shown as a sign, so that the line stays one paragraph on the screen.
std::string Shown(std::string_view text) {
  std::string shown;
  for (const char c : text) {
    if (c == '\n')
      shown += "\u21B5";
    else
      shown += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  }
  return shown;
}

}  // namespace

LineReader::Outcome LineReader::Read(const std::string& prompt, std::string& line) {
  line.clear();
  const Outcome outcome = edit_ ? Edit(prompt, line) : ReadPlain(line);
  if (outcome == Outcome::kLine && !line.empty() && (history_.empty() || history_.back() != line)) {
    history_.push_back(line);
  }
  return outcome;
}

// A signal may come while nothing is being read (between two lines, or on another thread), so waiting looks up five
// times a second instead of trusting that read() gets interrupted.
int LineReader::ReadByte() {
  while (pending_.empty()) {
    if (SignalGuard::Raised()) return kSignal;
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (::poll(&input, 1, /*timeout_ms=*/200) <= 0) continue;
    char block[4096];
    const ssize_t n = ::read(STDIN_FILENO, block, sizeof(block));
    if (n > 0)
      pending_.assign(block, static_cast<size_t>(n));
    else if (n == 0 || (errno != EINTR && errno != EAGAIN))
      return kEndOfInput;
  }
  const auto byte = static_cast<unsigned char>(pending_.front());
  pending_.erase(0, 1);
  return byte;
}

LineReader::Outcome LineReader::ReadPlain(std::string& line) {
  for (;;) {
    if (const size_t newline = pending_.find('\n'); newline != pending_.npos) {
      line += pending_.substr(0, newline);
      pending_.erase(0, newline + 1);
      return Outcome::kLine;
    }
    line += pending_;
    pending_.clear();
    const int byte = ReadByte();
    if (byte == kSignal) return Outcome::kInterrupt;
    if (byte == kEndOfInput) return line.empty() ? Outcome::kEnd : Outcome::kLine;
    pending_.insert(pending_.begin(), static_cast<char>(byte));
  }
}

void LineReader::Redraw(const std::string& prompt, const LineBuffer& buffer) {
  const int width = TerminalWidth();
  std::string out = cursor_row_ > 0 ? fmt::format("\033[{}A", cursor_row_) : "";
  out += "\r\033[J" + prompt + Shown(buffer.text());
  const int end = DisplayWidth(prompt) + DisplayWidth(Shown(buffer.text()));
  const int cursor =
      DisplayWidth(prompt) + DisplayWidth(Shown(std::string_view(buffer.text()).substr(0, buffer.cursor())));
  if (end > 0 && end % width == 0) out += "\n";  // the terminal has not wrapped yet
  if (const int up = end / width - cursor / width; up > 0) out += fmt::format("\033[{}A", up);
  out += "\r";
  if (const int right = cursor % width; right > 0) out += fmt::format("\033[{}C", right);
  cursor_row_ = cursor / width;
  WriteStderr(out);
}

void LineReader::Recall(LineBuffer& buffer, size_t& place, bool older) {
  if (older ? place == 0 : place == history_.size()) return;
  if (place == history_.size()) draft_ = buffer.text();
  place += older ? size_t(-1) : 1;
  buffer.Set(place == history_.size() ? draft_ : history_[place]);
}

// After ESC. Arrow keys and their relatives send ESC [ or ESC O, numbers, and a letter or '~'.
bool LineReader::HandleEscape(LineBuffer& buffer, size_t& place) {
  const int kind = ReadByte();
  if (kind == 'b') buffer.WordLeft();
  if (kind == 'f') buffer.WordRight();
  if (kind == '\r') buffer.Insert("\n");  // Alt-Enter
  if (kind != '[' && kind != 'O') return true;
  std::string numbers;
  int key = ReadByte();
  for (; (key >= '0' && key <= '9') || key == ';'; key = ReadByte()) numbers += static_cast<char>(key);
  const bool word = numbers.ends_with(";5") || numbers.ends_with(";3");
  switch (key) {
    case 'A':
      Recall(buffer, place, true);
      break;
    case 'B':
      Recall(buffer, place, false);
      break;
    case 'C':
      word ? buffer.WordRight() : buffer.Right();
      break;
    case 'D':
      word ? buffer.WordLeft() : buffer.Left();
      break;
    case 'H':
      buffer.Home();
      break;
    case 'F':
      buffer.End();
      break;
    case '~':
      if (numbers == "1" || numbers == "7") buffer.Home();
      if (numbers == "4" || numbers == "8") buffer.End();
      if (numbers == "3") buffer.Delete();
      if (numbers == "200") {  // pasted text, to its closing bracket
        std::string pasted;
        while (!pasted.ends_with("\033[201~")) {
          const int byte = ReadByte();
          if (byte < 0) return false;
          pasted += byte == '\r' ? '\n' : static_cast<char>(byte);
        }
        buffer.Insert(std::string_view(pasted).substr(0, pasted.size() - 6));
      }
      break;
    default:
      return key >= 0;
  }
  return true;
}

LineReader::Outcome LineReader::Edit(const std::string& prompt, std::string& line) {
  const RawMode raw;
  LineBuffer buffer;
  size_t place = history_.size();
  cursor_row_ = 0;
  const auto leave = [&](Outcome outcome) {
    buffer.End();
    Redraw(prompt, buffer);
    WriteStderr("\n");
    line = buffer.text();
    return outcome;
  };
  for (;;) {
    if (pending_.empty()) Redraw(prompt, buffer);
    const int key = ReadByte();
    switch (key) {
      case kSignal:
        return leave(Outcome::kInterrupt);
      case kEndOfInput:
        return leave(Outcome::kEnd);
      case '\r':
      case '\n':
        return leave(Outcome::kLine);
      case 3:
        return leave(Outcome::kInterrupt);  // Ctrl-C
      case 4:                               // Ctrl-D
        if (buffer.text().empty()) return leave(Outcome::kEnd);
        buffer.Delete();
        break;
      case 1:
        buffer.Home();
        break;
      case 5:
        buffer.End();
        break;
      case 2:
        buffer.Left();
        break;
      case 6:
        buffer.Right();
        break;
      case 8:
      case 127:
        buffer.Backspace();
        break;
      case 11:
        buffer.KillToEnd();
        break;
      case 21:
        buffer.KillToStart();
        break;
      case 23:
        buffer.KillWord();
        break;
      case 12:
        WriteStderr("\033[H\033[2J"), cursor_row_ = 0;
        break;  // Ctrl-L
      case 16:
        Recall(buffer, place, true);
        break;
      case 14:
        Recall(buffer, place, false);
        break;
      case 27:
        if (!HandleEscape(buffer, place)) return leave(Outcome::kEnd);
        break;
      default:
        if (key >= 0x20 || key == '\t') {
          const char byte = static_cast<char>(key);
          buffer.Insert(std::string_view(&byte, 1));
        }
    }
  }
}

}  // namespace minke
