#include "minke/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "minke/base/file_internal.h"

namespace minke {
namespace file_internal {

Fd::~Fd() {
  if (fd >= 0) ::close(fd);
}

tl::unexpected<Error> SystemError(const std::string& path, const char* action, int error) {
  const bool missing = error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG;
  return Fail(missing ? Code::kNotFound : Code::kFailed, "{}: cannot {}: {}", path, action, std::strerror(error));
}

Result<Fd> OpenRegular(const std::string& path, struct stat& info) {
  if (path.find('\0') != std::string::npos)
    return Fail(Code::kNotFound, "{}: the path holds a zero byte", path.c_str());
  // O_NONBLOCK: opening a pipe must not wait for its writer. It means nothing for a regular file.
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.fd < 0) return SystemError(path, "open", errno);
  if (::fstat(fd.fd, &info) != 0) return SystemError(path, "open", errno);
  if (S_ISDIR(info.st_mode)) return Fail(Code::kFailed, "{}: is a folder, expected a file", path);
  if (!S_ISREG(info.st_mode)) return Fail(Code::kFailed, "{}: is a pipe or device, expected a regular file", path);
  return fd;
}

}  // namespace file_internal

namespace {

using file_internal::Fd;
using file_internal::OpenRegular;
using file_internal::SystemError;

Status WriteAll(int fd, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError(path, "write", errno);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

// A name in the target's folder that no other writer, here or in another process, uses.
Result<Fd> CreateTemporary(const std::filesystem::path& folder, std::string& name) {
  static std::atomic<unsigned> counter{0};
  for (;;) {
    name = (folder / fmt::format(".minke-{}-{}.tmp", ::getpid(), counter.fetch_add(1))).string();
    Fd fd(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (fd.fd >= 0) return fd;
    if (errno != EEXIST) return SystemError(name, "create", errno);
  }
}

}  // namespace

Result<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  struct stat info;
  MINKE_ASSIGN(const Fd fd, OpenRegular(path, info));
  const auto too_long = [&] { return Fail(Code::kDamaged, "{}: is longer than {} bytes", path, max_bytes); };
  if (info.st_size > max_bytes) return too_long();
  // One byte more than stated tells the end; files in /proc state 0 and the loop grows.
  std::string text(static_cast<size_t>(info.st_size) + 1, '\0');
  size_t used = 0;
  for (;;) {
    const ssize_t n = ::read(fd.fd, text.data() + used, text.size() - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError(path, "read", errno);
    if (n == 0) break;
    used += static_cast<size_t>(n);
    if (static_cast<int64_t>(used) > max_bytes) return too_long();
    if (used == text.size()) text.resize(used + std::max<size_t>(used, 4096));
  }
  text.resize(used);
  return text;
}

Status WriteFileAtomic(const std::string& path, std::span<const std::byte> bytes) {
  return WriteFileAtomic(path, std::span(&bytes, 1));
}

Status WriteFileAtomic(const std::string& path, std::span<const std::span<const std::byte>> pieces) {
  return WriteFileAtomic(path, [&](const AppendFn& append) -> Status {
    for (const std::span<const std::byte> piece : pieces) MINKE_TRY(append(piece));
    return {};
  });
}

Status WriteFileAtomic(const std::string& path, const std::function<Status(const AppendFn&)>& produce) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  fs::path target(path);
  if (fs::exists(status)) {
    if (!fs::is_regular_file(status)) return Fail(Code::kFailed, "{}: exists and is not a regular file", path);
    if (fs::is_symlink(fs::symlink_status(path, error))) target = fs::canonical(path, error);
    if (error) return Fail(Code::kFailed, "{}: cannot resolve: {}", path, error.message());
  }
  std::string temporary;
  MINKE_ASSIGN(Fd fd, CreateTemporary(target.parent_path(), temporary));
  const Status written = [&]() -> Status {
    MINKE_TRY(produce([&](std::span<const std::byte> piece) { return WriteAll(fd.fd, piece, path); }));
    if (::fsync(fd.fd) != 0) return SystemError(path, "write", errno);
    if (::close(std::exchange(fd.fd, -1)) != 0) return SystemError(path, "write", errno);
    if (::rename(temporary.c_str(), target.c_str()) != 0) return SystemError(path, "write", errno);
    return {};
  }();
  if (!written) {
    ::unlink(temporary.c_str());
    return written;
  }
  // The name itself survives a power cut only when the folder is synced; some file systems refuse, which is fine.
  const std::string folder = target.has_parent_path() ? target.parent_path().string() : ".";
  const Fd folder_fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder_fd.fd >= 0) static_cast<void>(::fsync(folder_fd.fd));
  return {};
}

}  // namespace minke
