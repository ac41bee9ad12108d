// What file.cc and mapped_file.cc share.
#pragma once

#include <sys/stat.h>

#include <string>
#include <utility>

#include "minke/base/result.h"

namespace minke::file_internal {

struct Fd {
  explicit Fd(int descriptor) : fd(descriptor) {}
  Fd(Fd&& other) noexcept : fd(std::exchange(other.fd, -1)) {}
  Fd& operator=(Fd&&) = delete;
  ~Fd();
  int fd;
};

// "PATH: cannot ACTION: ..."; kNotFound for a missing path, else kFailed.
tl::unexpected<Error> SystemError(const std::string& path, const char* action, int error);

// Opens a regular file for reading and fills `info`.
Result<Fd> OpenRegular(const std::string& path, struct stat& info);

}  // namespace minke::file_internal
