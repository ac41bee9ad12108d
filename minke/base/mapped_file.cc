#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>

#include "minke/base/file.h"
#include "minke/base/file_internal.h"

namespace minke {
namespace {

// What the signal handler may look at: only lock-free atomics, never freed.
struct Slot {
  std::atomic<uintptr_t> begin{0};  // 0: free
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> damaged{false};
};
static_assert(std::atomic<uintptr_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

constexpr int kMaxMappings = 8192;  // 50 times the shards of DeepSeek-V3.2; 200 KB
Slot g_slots[kMaxMappings];
std::atomic<int> g_slots_used{0};  // slots that were ever taken
std::mutex g_slots_mutex;          // for Take and Release; the handler does not need it
struct sigaction g_previous;
uintptr_t g_page_bytes = 4096;

// Runs on the thread that touched a page of a mapping which the file no longer reaches, or which failed to read.
void OnSigbus(int signal, siginfo_t* info, void*) {
  const int saved_errno = errno;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  if (info->si_code > 0) {  // a fault, not a kill()
    const int used = g_slots_used.load(std::memory_order_acquire);
    for (int i = 0; i < used; ++i) {
      Slot& slot = g_slots[i];
      const uintptr_t begin = slot.begin.load(std::memory_order_acquire);
      const uintptr_t end = slot.end.load(std::memory_order_acquire);
      if (begin == 0 || address < begin || address >= end) continue;
      slot.damaged.store(true, std::memory_order_release);
      // To the end of the mapping, not page by page: a shrunk 16 GB file would cost millions of faults, and
      // scattered pages would pass the kernel's limit on the number of mappings.
      const uintptr_t page = address & ~(g_page_bytes - 1);
      // The bare system call: mmap() itself is not among the functions that a handler may call.
      const int64_t zeros =
          ::syscall(SYS_mmap, page, end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      if (zeros == -1) break;
      errno = saved_errno;
      return;
    }
  }
  // Not ours. With the earlier handler back in place a fault repeats itself; a sent signal has to be sent again.
  ::sigaction(SIGBUS, &g_previous, nullptr);
  if (info->si_code <= 0) ::raise(signal);
  errno = saved_errno;
}

void InstallHandler() {
  static std::once_flag once;
  std::call_once(once, [] {
    g_page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    struct sigaction action = {};
    action.sa_sigaction = OnSigbus;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &g_previous);
  });
}

// -1 when the table is full.
int TakeSlot(const void* data, size_t size) {
  const std::lock_guard lock(g_slots_mutex);
  for (int i = 0; i < kMaxMappings; ++i) {
    Slot& slot = g_slots[i];
    if (slot.begin.load(std::memory_order_relaxed) != 0) continue;
    const auto begin = reinterpret_cast<uintptr_t>(data);
    slot.damaged.store(false, std::memory_order_relaxed);
    // Whole pages: the rest of the last page belongs to the mapping too.
    slot.end.store((begin + size + g_page_bytes - 1) & ~(g_page_bytes - 1), std::memory_order_release);
    slot.begin.store(begin, std::memory_order_release);
    if (i >= g_slots_used.load(std::memory_order_relaxed)) g_slots_used.store(i + 1, std::memory_order_release);
    return i;
  }
  return -1;
}

}  // namespace

Result<MappedFile> MappedFile::Open(const std::string& path) {
  struct stat info;
  MINKE_ASSIGN(const file_internal::Fd fd, file_internal::OpenRegular(path, info));
  MappedFile file;
  file.path_ = path;
  if (info.st_size == 0) return file;
  InstallHandler();
  const auto size = static_cast<size_t>(info.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.fd, 0);
  if (data == MAP_FAILED) return file_internal::SystemError(path, "map", errno);
  file.data_ = static_cast<const std::byte*>(data);
  file.size_ = size;
  file.slot_ = TakeSlot(data, size);
  if (file.slot_ < 0) return Fail(Code::kFailed, "{}: cannot map: {} files are mapped already", path, kMaxMappings);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      path_(std::move(other.path_)),
      slot_(std::exchange(other.slot_, -1)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  Close();
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  path_ = std::move(other.path_);
  slot_ = std::exchange(other.slot_, -1);
  return *this;
}

MappedFile::~MappedFile() { Close(); }

void MappedFile::Close() {
  if (data_ == nullptr) return;
  // The slot first: once the range is unmapped it may belong to somebody else.
  if (slot_ >= 0) g_slots[slot_].begin.store(0, std::memory_order_release);
  ::munmap(const_cast<std::byte*>(data_), size_);
  data_ = nullptr;
}

void MappedFile::LetGo() const {
  if (data_ != nullptr) static_cast<void>(::madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED));
}

Status MappedFile::Health() const {
  if (slot_ < 0 || !g_slots[slot_].damaged.load(std::memory_order_acquire)) return {};
  return Fail(Code::kDamaged, "{}: could not be read while in use; was the file cut short or replaced?", path_);
}

}  // namespace minke
