#include "minke/cli/machine.h"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "minke/base/available_memory.h"
#include "minke/base/file.h"
#include "minke/cli/disk_speed.h"

namespace minke {
namespace {

constexpr int64_t kMaxSystemFile = 4 << 20;

std::string SystemFile(const char* path) { return ReadFile(path, kMaxSystemFile).value_or(""); }

// The rest of the first line that starts with `key`, without blanks, tabs and the colon in front.
std::string FieldOf(const std::string& text, std::string_view key) {
  size_t at = text.starts_with(key) ? 0 : text.find("\n" + std::string(key));
  if (at == std::string::npos) return "";
  at = text.find_first_not_of(" \t:", text.find(key, at) + key.size());
  return at == std::string::npos ? "" : text.substr(at, text.find('\n', at) - at);
}

int64_t NumberOf(const std::string& text) { return std::strtoll(text.c_str(), nullptr, 10); }

// "always [madvise] never"
std::string ChosenOf(const std::string& text) {
  const size_t begin = text.find('['), end = text.find(']');
  return begin == std::string::npos || end < begin ? "" : text.substr(begin + 1, end - begin - 1);
}

struct TemporaryFile {
  ~TemporaryFile() {
    if (fd >= 0) ::close(fd);
    if (!name.empty()) ::unlink(name.c_str());
  }
  std::string name;
  int fd = -1;
};

}  // namespace

Machine ReadMachine() {
  Machine machine;
  const std::string cpu = SystemFile("/proc/cpuinfo"), memory = SystemFile("/proc/meminfo");
  machine.cpu = FieldOf(cpu, "model name");
  if (machine.cpu.empty()) machine.cpu = FieldOf(cpu, "Model");
  struct utsname name;
  if (::uname(&name) == 0) machine.architecture = name.machine;
  machine.cores_online = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  machine.memory_bytes = NumberOf(FieldOf(memory, "MemTotal")) * 1024;
  machine.available_bytes = AvailableMemoryBytes();
  machine.limit_bytes = MemoryLimitBytes();
  machine.transparent_huge_pages = ChosenOf(SystemFile("/sys/kernel/mm/transparent_hugepage/enabled"));
  machine.huge_pages_free = NumberOf(FieldOf(memory, "HugePages_Free"));
  machine.huge_page_bytes = NumberOf(FieldOf(memory, "Hugepagesize")) * 1024;
  return machine;
}

Json MachineJson(const Machine& machine) {
  return {
      {"cpu",
       {{"name", machine.cpu.empty() ? "unknown" : machine.cpu},
        {"architecture", machine.architecture},
        {"online", machine.cores_online}}},
      {"memory",
       {{"total_bytes", machine.memory_bytes},
        {"available_bytes", machine.available_bytes},
        {"limit_bytes", machine.limit_bytes > 0 ? Json(machine.limit_bytes) : Json()},
        {"transparent_huge_pages", machine.transparent_huge_pages.empty() ? "unknown" : machine.transparent_huge_pages},
        {"huge_pages_free", machine.huge_pages_free},
        {"huge_page_bytes", machine.huge_page_bytes}}}};
}

Result<DiskSpeed> MeasureDiskRead(const std::string& folder) {
  constexpr size_t kPiece = 4 << 20, kPieces = 64, kAlign = 4096;
  const auto failed = [&](const char* action) {
    return Fail(Code::kFailed, "{}: cannot {} a test file: {}", folder, action, std::strerror(errno));
  };
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  const std::unique_ptr<char, Free> piece(static_cast<char*>(std::aligned_alloc(kAlign, kPiece)));
  if (!piece) return failed("hold");
  // Not zeros, which some file systems do not store.
  for (size_t i = 0; i < kPiece; ++i) piece.get()[i] = static_cast<char>((i * 2654435761u) >> 13);

  TemporaryFile file;
  std::string name = folder + "/.minke-doctor-XXXXXX";
  file.fd = ::mkstemp(name.data());
  if (file.fd < 0) return failed("make");
  file.name = name;
  for (size_t i = 0; i < kPieces; ++i)
    if (::write(file.fd, piece.get(), kPiece) != static_cast<ssize_t>(kPiece)) return failed("write");
  if (::fsync(file.fd) != 0) return failed("write");
  static_cast<void>(::posix_fadvise(file.fd, 0, 0, POSIX_FADV_DONTNEED));
  MINKE_ASSIGN(const auto reader, FileReader::Create({&name, 1}, FileReader::Mode::kDirect));
  DiskSpeed speed{.bytes_per_s = 0, .direct = reader->direct(0)};  // tmpfs and others are not
  MINKE_ASSIGN(speed.bytes_per_s, SequentialReadSpeed(*reader, 0, 0, kPieces * kPiece, /*seconds=*/60));
  return speed;
}

}  // namespace minke
