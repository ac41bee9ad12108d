#include "minke/base/file_reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "minke/base/check.h"
#include "minke/base/file_internal.h"

namespace minke {
namespace {

constexpr int kDepth = 8;
constexpr int64_t kPiece = int64_t{1} << 20;

}  // namespace

Result<std::unique_ptr<FileReader>> FileReader::Create(std::span<const std::string> paths, Mode mode) {
  auto reader = std::unique_ptr<FileReader>(new FileReader);
  for (const std::string& path : paths) {
    struct stat info;
    MINKE_ASSIGN(file_internal::Fd fd, file_internal::OpenRegular(path, info));
    File& file = reader->files_.emplace_back();
    file.path = path;
    file.bytes = info.st_size;
    file.buffered = std::exchange(fd.fd, -1);
    if (mode == Mode::kDirect) file.direct = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);  // -1: not here
  }
  try {
    for (int i = 0; i < kDepth; ++i) reader->threads_.emplace_back([r = reader.get()] { r->Loop(); });
  } catch (const std::system_error& e) {
    return Fail(Code::kNoMemory, "{} threads that read files cannot be started: {}", kDepth, e.what());
  }
  return reader;
}

FileReader::~FileReader() {
  {
    const std::lock_guard lock(mutex_);
    MINKE_CHECK(urgent_.empty() && later_.empty());
    stop_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  for (const File& file : files_) {
    ::close(file.buffered);
    if (file.direct >= 0) ::close(file.direct);
  }
}

void FileReader::Reserve(int64_t jobs) {
  const std::lock_guard lock(mutex_);
  room_ += static_cast<size_t>(jobs);
  urgent_.reserve(room_);
  later_.reserve(room_);
}

void FileReader::Start(Job& job, bool urgent) {
  MINKE_DCHECK(job.done());
  MINKE_DCHECK(job.offset % kAlign == 0 && job.bytes % kAlign == 0 && job.bytes > 0);
  job.done_.store(false, std::memory_order_relaxed);
  job.begun_ = 0;
  {
    const std::lock_guard lock(mutex_);
    (urgent ? urgent_ : later_).push_back(&job);
  }
  work_.notify_all();
}

void FileReader::MakeUrgent(Job& job) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(later_, &job);
  if (found == later_.end()) return;
  later_.erase(found);
  urgent_.push_back(&job);
}

bool FileReader::Cancel(Job& job) {
  const std::lock_guard lock(mutex_);
  if (job.done() || job.begun_ > 0) return false;
  for (auto* queue : {&urgent_, &later_}) std::erase(*queue, &job);
  job.done_.store(true, std::memory_order_release);
  return true;
}

void FileReader::WaitPast(uint64_t seen) {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return finished() != seen; });
}

void FileReader::Wait(const Job& job) {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return job.done(); });
}

Status FileReader::Health() const {
  if (!broken_.load(std::memory_order_acquire)) return {};
  const std::lock_guard lock(mutex_);
  return Fail(error_);
}

void FileReader::Break(Error error) {
  const std::lock_guard lock(mutex_);
  if (broken_.load(std::memory_order_relaxed)) return;
  error_ = std::move(error);
  broken_.store(true, std::memory_order_release);
}

void FileReader::Loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return stop_ || !urgent_.empty() || !later_.empty(); });
    if (stop_) return;
    std::vector<Job*>& queue = urgent_.empty() ? later_ : urgent_;
    Job& job = *queue.front();
    const int64_t begin = job.begun_, bytes = std::min(kPiece, job.bytes - begin);
    job.begun_ += bytes;
    ++job.running_;
    if (job.begun_ == job.bytes) queue.erase(queue.begin());
    lock.unlock();
    ReadPiece(files_[static_cast<size_t>(job.file)], job.offset + begin, bytes, job.to + begin);
    lock.lock();
    if (--job.running_ > 0 || job.begun_ < job.bytes) continue;
    job.done_.store(true, std::memory_order_release);
    finished_.fetch_add(1, std::memory_order_release);
    done_.notify_all();
  }
}

void FileReader::ReadPiece(const File& file, int64_t offset, int64_t bytes, std::byte* to) {
#ifdef MADV_POPULATE_WRITE
  // Fresh memory gets its pages at once: one by one inside the read takes twice the processor time. Linux 5.14 on;
  // others refuse, which is fine.
  static_cast<void>(::madvise(to, static_cast<size_t>(bytes), MADV_POPULATE_WRITE));
#endif
  if (file.direct >= 0 && ReadFrom(file.direct, file, offset, bytes, to)) return;
  // Some file systems open files for direct reading and then refuse to.
  if (ReadFrom(file.buffered, file, offset, bytes, to)) return;
  const int error = errno;
  std::memset(to, 0, static_cast<size_t>(bytes));
  Break(error == 0
            ? Error{Code::kDamaged, fmt::format("{}: ended at byte {} of {} while in use; was the file cut short "
                                                "or replaced?",
                                                file.path, offset, file.bytes)}
            : Error{Code::kFailed, fmt::format("{}: cannot read at byte {} while in use: {}", file.path, offset,
                                               std::strerror(error))});
}

// False with errno, 0 for a file that is shorter than it was.
bool FileReader::ReadFrom(int descriptor, const File& file, int64_t offset, int64_t bytes, std::byte* to) {
  const int64_t wanted = std::min(bytes, file.bytes - offset);
  for (int64_t got = 0; got < wanted;) {
    const ssize_t n = ::pread(descriptor, to + got, static_cast<size_t>(bytes - got), offset + got);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = 0;
    if (n <= 0) return false;
    got += n;
  }
  return true;
}

}  // namespace minke
