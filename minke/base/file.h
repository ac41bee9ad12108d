// Files: read whole with a limit, map read-only, write atomically. Paths are UTF-8. All functions may be called
// from any thread. Folders, pipes and devices are refused by name, never waited for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "minke/base/result.h"

namespace minke {

// Errors: kNotFound, kDamaged if longer than max_bytes, kFailed otherwise.
Result<std::string> ReadFile(const std::string& path, int64_t max_bytes);
// Temporary file in the same folder, fsync, rename. Nothing half-written is ever seen under `path`; a symbolic link
// keeps pointing where it did and its target is replaced.
Status WriteFileAtomic(const std::string& path, std::span<const std::byte> bytes);
// The same for a file in pieces, so that large data need not be joined first.
Status WriteFileAtomic(const std::string& path, std::span<const std::span<const std::byte>> pieces);
// The same for a file larger than memory: `produce` hands over piece after piece. Its own error leaves nothing behind.
using AppendFn = std::function<Status(std::span<const std::byte>)>;
Status WriteFileAtomic(const std::string& path, const std::function<Status(const AppendFn&)>& produce);

// A read-only mapping. If the file shrinks or a page cannot be read, the touched page and all behind it in this
// mapping turn into zeros instead of ending the process (a SIGBUS handler, installed once, patches our own mappings
// only), and Health() says so.
class MappedFile {
 public:
  // Errors: kNotFound, kFailed. An empty file has empty bytes().
  static Result<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  Status Health() const;  // kDamaged after a fault; one atomic load
  void LetGo() const;     // of the pages that were touched, until they are touched again

 private:
  MappedFile() = default;
  void Close();

  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::string path_;
  int slot_ = -1;  // in the table the signal handler reads
};

}  // namespace minke
