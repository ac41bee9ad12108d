#include "minke/cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace minke {

Status Output::Write(std::string_view text) {
  if (closed_) return Fail(Code::kFailed, "standard output is closed");
  buffer_ += text;
  return buffer_.size() < (size_t{1} << 16) ? Status() : Flush();
}

Status Output::WriteLine(std::string_view text) {
  MINKE_TRY(Write(text));
  MINKE_TRY(Write("\n"));
  return Flush();
}

Status Output::Flush() {
  size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t n = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (n >= 0) {
      done += static_cast<size_t>(n);
    } else if (errno != EINTR) {
      const int error = errno;
      closed_ = error == EPIPE;
      buffer_.clear();  // what could not be written once is not tried again
      return Fail(Code::kFailed, "cannot write to standard output: {}", std::strerror(error));
    }
  }
  buffer_.clear();
  return {};
}

}  // namespace minke
