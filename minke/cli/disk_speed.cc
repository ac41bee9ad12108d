#include "minke/cli/disk_speed.h"

#include <algorithm>
#include <atomic>

#include "minke/base/page_memory.h"
#include "minke/cli/terminal.h"
#include "minke/tensor/checkpoint.h"

namespace minke {

Result<double> SequentialReadSpeed(FileReader& reader, int file, int64_t offset, int64_t most_bytes, double seconds) {
  constexpr int64_t kPart = int64_t{16} << 20, kParts = 2;  // the second is under way when the first is done
  const int64_t end = offset + most_bytes / FileReader::kAlign * FileReader::kAlign;
  MINKE_ASSIGN(const PageMemory memory, PageMemory::Take(kParts * kPart, HugePages::kAuto));
  FileReader::Job jobs[kParts];
  reader.Reserve(kParts);
  int64_t at = offset;
  const auto start_next = [&](int64_t i) {
    jobs[i].file = file, jobs[i].offset = at, jobs[i].bytes = std::min(kPart, end - at);
    jobs[i].to = memory.data() + i * kPart;
    at += jobs[i].bytes;
    if (jobs[i].bytes > 0) reader.Start(jobs[i], /*urgent=*/true);
  };
  const double begin = MonotonicSeconds();
  for (int64_t i = 0; i < kParts; ++i) start_next(i);
  for (int64_t i = 0; at < end && MonotonicSeconds() - begin < seconds; i = (i + 1) % kParts) {
    reader.Wait(jobs[i]);
    start_next(i);
  }
  for (const FileReader::Job& job : jobs) reader.Wait(job);
  MINKE_TRY(reader.Health());
  return static_cast<double>(at - offset) / std::max(MonotonicSeconds() - begin, 1e-9);
}

Result<double> ModelReadSpeed(const Model& model) {
  const auto& files = model.checkpoint().files();
  const auto size = [&](size_t i) { return static_cast<int64_t>(files[i]->file().bytes().size()); };
  size_t largest = 0;
  for (size_t i = 1; i < files.size(); ++i)
    if (size(i) > size(largest)) largest = i;
  static std::atomic<int64_t> round{0};
  constexpr int64_t kMost = int64_t{2} << 30;
  const int64_t room = std::max<int64_t>(0, size(largest) - kMost) / FileReader::kAlign;
  const int64_t offset = room > 0 ? (round.fetch_add(1) * 104729 % room) * FileReader::kAlign : 0;
  return SequentialReadSpeed(*model.reader(), static_cast<int>(largest), offset,
                             std::min(kMost, size(largest) - offset), /*seconds=*/0.5);
}

}  // namespace minke
