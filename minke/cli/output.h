// Standard output with every write checked. SIGPIPE is ignored, so a reader that left shows as an error here; main
// then ends the program quietly.
#pragma once

#include <string>
#include <string_view>

#include "minke/base/result.h"

namespace minke {

class Output {
 public:
  explicit Output(int fd = 1) : fd_(fd) {}

  // Buffers up to 64 KiB. Errors: kFailed (disk full, or the reader has gone: then closed() is true).
  Status Write(std::string_view text);
  Status Flush();
  Status WriteLine(std::string_view text);  // text and a newline, flushed: for one JSON object a line

  bool closed() const { return closed_; }  // the reader has gone: stop, and say nothing

 private:
  int fd_;
  bool closed_ = false;
  std::string buffer_;
};

}  // namespace minke
