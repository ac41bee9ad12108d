// Reads parts of files into the caller's memory, several pieces at once, past the page cache where the file system can:
// a disk reaches its speed only with some depth, and pages that nobody asks for twice would only take memory.
// Threads with pread: io_uring was measured beside them and was not faster (docs/performance.md), and containers often
// forbid it. Any thread may call; nothing is allocated between Reserve and the destructor.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "minke/base/result.h"

namespace minke {

class FileReader {
 public:
  enum class Mode { kBuffered, kDirect };  // kDirect falls back to kBuffered, file by file
  static constexpr int64_t kAlign = 4096;  // of offsets, lengths and memory

  // A part of a file. The caller owns it and leaves it alone from Start until it is done.
  struct Job {
    int file = 0;                   // index into `paths` of Create
    int64_t offset = 0, bytes = 0;  // multiples of kAlign; the last block may reach beyond the file's end
    std::byte* to = nullptr;        // a multiple of kAlign
    bool done() const { return done_.load(std::memory_order_acquire); }

   private:
    friend class FileReader;
    std::atomic<bool> done_{true};
    int64_t begun_ = 0;  // bytes given to threads
    int running_ = 0;    // threads at it
  };

  // Opens all files. Errors: those of opening a file, kNoMemory without threads.
  static Result<std::unique_ptr<FileReader>> Create(std::span<const std::string> paths, Mode mode);
  ~FileReader();  // every job is done
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  bool direct(int file) const { return files_[static_cast<size_t>(file)].direct >= 0; }

  void Reserve(int64_t jobs);  // more room: so many at once, beside those of earlier calls
  // Urgent jobs go first, in the order of their calls.
  void Start(Job& job, bool urgent);
  void MakeUrgent(Job& job);  // no-op when it is done
  bool Cancel(Job& job);      // true if nothing had been read; otherwise it goes on. A cancelled job is done.

  // Waiting without missing anything: look at finished(), look at the jobs, then wait for a later one to end.
  uint64_t finished() const { return finished_.load(std::memory_order_acquire); }
  void WaitPast(uint64_t seen);
  void Wait(const Job& job);

  // What could not be read is zeros and shows here: kDamaged for a file that was cut, else kFailed.
  Status Health() const;

 private:
  struct File {
    std::string path;
    int64_t bytes = 0;
    int direct = -1, buffered = -1;  // descriptors; direct may be -1
  };
  FileReader() = default;
  void Loop();
  void ReadPiece(const File& file, int64_t offset, int64_t bytes, std::byte* to);
  bool ReadFrom(int descriptor, const File& file, int64_t offset, int64_t bytes, std::byte* to);
  void Break(Error error);

  std::vector<File> files_;
  mutable std::mutex mutex_;
  std::condition_variable work_, done_;
  std::vector<Job*> urgent_, later_;  // with pieces that no thread has begun
  size_t room_ = 0;
  bool stop_ = false;
  std::atomic<uint64_t> finished_{0};  // jobs
  std::atomic<bool> broken_{false};
  Error error_;  // the first
  std::vector<std::thread> threads_;
};

}  // namespace minke
