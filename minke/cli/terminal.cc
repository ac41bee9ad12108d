#include "minke/cli/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>

namespace minke {

bool IsTerminal(int fd) { return ::isatty(fd) == 1; }

int TerminalWidth() {
  if (const char* columns = std::getenv("COLUMNS"); columns && *columns) {
    const int width = std::atoi(columns);
    if (width >= 20 && width <= 10000) return width;
  }
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
  return 80;
}

bool UseColor(int fd, std::string_view mode) {
  if (mode == "always") return true;
  if (mode == "never") return false;
  const auto set = [](const char* name) {
    const char* value = std::getenv(name);
    return value && *value;
  };
  const char* term = std::getenv("TERM");
  if (set("NO_COLOR") || (term && std::string_view(term) == "dumb")) return false;
  const char* force = std::getenv("CLICOLOR_FORCE");
  if (force && *force && std::string_view(force) != "0") return true;
  return IsTerminal(fd) && term && *term;
}

std::string WithoutControls(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (byte == 0xC2 && next >= 0x80 && next <= 0x9F) {
      safe += '?';
      ++i;
    } else if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F) {
      safe += '?';
    } else {
      safe += text[i];
    }
  }
  return safe;
}

std::string OneLine(std::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (c == '\n' || c == '\t' || c == '\r') c = ' ';
  }
  line = WithoutControls(line);
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

void WriteStderr(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
    if (n > 0)
      text.remove_prefix(static_cast<size_t>(n));
    else if (n < 0 && errno == EINTR)
      continue;
    else
      return;
  }
}

double MonotonicSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Progress::Progress(std::string what, std::string unit, bool enabled)
    : what_(std::move(what)), unit_(std::move(unit)), enabled_(enabled) {
  const char* term = std::getenv("TERM");
  terminal_ = IsTerminal(STDERR_FILENO) && !(term && std::string_view(term) == "dumb");
  start_s_ = last_s_ = MonotonicSeconds();
}

Progress::~Progress() { Clear(); }

void Progress::Update(double done, double total) {
  if (!enabled_ || total <= 0) return;
  const double now = MonotonicSeconds(), rate = done / std::max(now - start_s_, 1e-9);
  if (terminal_) {
    if (now - last_s_ < 0.1) return;
    std::string line = fmt::format("{}: {:.0f}/{:.0f} {}, {:.4g} {}/s, {:.0f} s left", what_, done, total, unit_, rate,
                                   unit_, rate > 0 ? (total - done) / rate : 0.0);
    if (const auto width = static_cast<size_t>(TerminalWidth()); line.size() >= width) line.resize(width - 1);
    WriteStderr("\r\033[K" + line);
    drawn_ = true;
  } else {
    const int tenth = static_cast<int>(10 * done / total);
    if (now - start_s_ < 2 || (tenth <= last_tenth_ && now - last_s_ < 30)) return;  // short work says nothing
    last_tenth_ = tenth;
    WriteStderr(fmt::format("minke: {}: {:.0f}% ({:.0f}/{:.0f} {})\n", what_, 100 * done / total, done, total, unit_));
  }
  last_s_ = now;
}

void Progress::Clear() {
  if (drawn_) WriteStderr("\r\033[K");
  drawn_ = false;
}

}  // namespace minke
