// Files: read whole with a limit, map read-only, write atomically. Paths are UTF-8.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "minke/base/result.h"

namespace minke {

// Errors: kNotFound, kDamaged if longer than max_bytes, kFailed otherwise.
Result<std::string> ReadFile(const std::string& path, int64_t max_bytes);
// Temporary file in the same folder, fsync, rename. Nothing half-written is ever seen under `path`.
Status WriteFileAtomic(const std::string& path, std::span<const std::byte> bytes);

// A read-only mapping. If the file shrinks or a page cannot be read, the touched page turns into zeros instead of
// ending the process (a SIGBUS handler, installed once, patches our own mappings only), and Health() says so.
class MappedFile {
 public:
  static Result<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  Status Health() const;  // kDamaged after a fault

 private:
  MappedFile() = default;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::string path_;
  int slot_ = -1;  // in the table the signal handler reads
};

}  // namespace minke
