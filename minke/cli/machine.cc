#include "minke/cli/machine.h"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "minke/base/available_memory.h"
#include "minke/base/file.h"
#include "minke/cli/terminal.h"

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

// Sums words so that every byte is read; eight sums keep the loads independent.
uint64_t ReadWords(const uint64_t* words, int64_t count) {
  uint64_t sums[8] = {};
  for (int64_t i = 0; i + 8 <= count; i += 8)
    for (int64_t j = 0; j < 8; ++j) sums[j] += words[i + j];
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  return total;
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

double MeasureMemoryBandwidth(ThreadPool& pool, int64_t available_bytes) {
  // Far beyond the caches where memory allows.
  const int64_t bytes = std::clamp<int64_t>(available_bytes / 8, 1 << 20, int64_t{512} << 20);
  const int64_t words = bytes / 8 / pool.num_threads() / 8 * 8;
  std::vector<std::unique_ptr<uint64_t[]>> buffers(static_cast<size_t>(pool.num_threads()));
  for (auto& buffer : buffers) buffer = std::make_unique<uint64_t[]>(static_cast<size_t>(words));
  std::vector<uint64_t> sums(buffers.size());
  double best = 0;
  const double start = MonotonicSeconds();
  for (int pass = 0; pass < 3 || MonotonicSeconds() - start < 0.3; ++pass) {
    const double begin = MonotonicSeconds();
    pool.Run(pool.num_threads(), [&](int64_t task, int) {
      sums[static_cast<size_t>(task)] += ReadWords(buffers[static_cast<size_t>(task)].get(), words);
    });
    const double seconds = std::max(MonotonicSeconds() - begin, 1e-9);
    best = std::max(best, static_cast<double>(words * 8 * pool.num_threads()) / seconds);
  }
  volatile uint64_t keep = 0;  // the sums must be computed
  for (const uint64_t sum : sums) keep = keep + sum;
  return best;
}

Result<DiskSpeed> MeasureDiskRead(const std::string& folder) {
  constexpr size_t kPiece = 4 << 20, kPieces = 16, kAlign = 4096;
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
  ::close(file.fd);

  DiskSpeed speed{.bytes_per_s = 0, .direct = true};
  file.fd = ::open(name.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (file.fd < 0) {  // tmpfs and others
    speed.direct = false;
    file.fd = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
  }
  if (file.fd < 0) return failed("read");
  const double begin = MonotonicSeconds();
  int64_t total = 0;
  for (;;) {
    const ssize_t n = ::read(file.fd, piece.get(), kPiece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("read");
    if (n == 0) break;
    total += n;
  }
  speed.bytes_per_s = static_cast<double>(total) / std::max(MonotonicSeconds() - begin, 1e-9);
  return speed;
}

}  // namespace minke
