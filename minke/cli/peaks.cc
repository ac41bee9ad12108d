#include "minke/cli/peaks.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "minke/cli/fit.h"
#include "minke/cli/terminal.h"

namespace minke {
namespace {

constexpr double kMeasureSeconds = 0.3;

// The best of the passes: what slows one down is another program or a clock that is not up yet. pass() gives its
// seconds.
template <class Pass>
double LeastSeconds(Pass pass) {
  double least = 1e9;
  const double start = MonotonicSeconds();
  for (int i = 0; i < 3 || MonotonicSeconds() - start < kMeasureSeconds; ++i) least = std::min(least, pass());
  return std::max(least, 1e-9);
}

template <class Task>
double SecondsOfAll(ThreadPool& pool, Task task) {
  const double begin = MonotonicSeconds();
  pool.Run(pool.num_threads(), [&](int64_t i, int) { task(static_cast<size_t>(i)); });
  return MonotonicSeconds() - begin;
}

// Of all threads together; run(task, rounds).
template <class Run>
double RoundsPerSecond(ThreadPool& pool, Run run) {
  int64_t rounds = 1 << 8;
  const auto pass = [&] { return SecondsOfAll(pool, [&](size_t task) { run(task, rounds); }); };
  while (pass() < 5e-3) rounds *= 2;  // long against the start of a thread
  return static_cast<double>(rounds * pool.num_threads()) / LeastSeconds(pass);
}

constexpr size_t kHugePage = 2 << 20;

// Memory of one thread, on huge pages where the system has them: small ones cost a walk of the page table each.
class Buffer {
 public:
  explicit Buffer(size_t bytes) : floats_(static_cast<float*>(std::aligned_alloc(kHugePage, bytes))) {
    if (!floats_) throw std::bad_alloc();
    static_cast<void>(::madvise(floats_.get(), bytes, MADV_HUGEPAGE));
    std::memset(floats_.get(), 0, bytes);  // memory that nobody wrote is one page of zeros, read from a cache
  }
  const float* data() const { return floats_.get(); }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> floats_;
};

}  // namespace

double MeasureMemoryBandwidth(ThreadPool& pool, int64_t available_bytes) {
  // Far beyond the caches where memory allows.
  const int64_t most = std::clamp<int64_t>(available_bytes / 8, 1, int64_t{1} << 30) / pool.num_threads();
  const size_t bytes = (static_cast<size_t>(most) / kHugePage + 1) * kHugePage;
  std::vector<Buffer> buffers;
  for (int i = 0; i < pool.num_threads(); ++i) buffers.emplace_back(bytes);
  std::vector<float> sums(buffers.size());
  // The bandwidth is the memory's, not the chosen set's: the best that runs here reads.
  const KernelSet& kernels = *ChooseKernelSet("").value();
  const auto count = static_cast<int64_t>(bytes / sizeof(float));
  const double seconds = LeastSeconds([&] {
    return SecondsOfAll(pool, [&](size_t task) { sums[task] = kernels.peak_read(buffers[task].data(), count); });
  });
  return static_cast<double>(bytes) * pool.num_threads() / seconds;
}

double MeasureF32Peak(const KernelSet& kernels, ThreadPool& pool) {
  std::vector<std::vector<float>> sums(static_cast<size_t>(pool.num_threads()), std::vector<float>(kPeakFloats));
  for (auto& of_thread : sums)  // all different, or a compiler may compute one for all
    for (size_t i = 0; i < of_thread.size(); ++i) of_thread[i] = static_cast<float>(i);
  return 2.0 * kPeakFloats * RoundsPerSecond(pool, [&](size_t task, int64_t rounds) {
           kernels.peak_f32(sums[task].data(), rounds, 0.5f, 0.5f);  // towards 1, where nothing is subnormal
         });
}

double MeasureI8Peak(const KernelSet& kernels, ThreadPool& pool) {
  std::vector<std::vector<int32_t>> sums(static_cast<size_t>(pool.num_threads()), std::vector<int32_t>(kPeakFloats));
  return 8.0 * kPeakFloats *
         RoundsPerSecond(pool, [&](size_t task, int64_t rounds) { kernels.peak_i8(sums[task].data(), rounds, 0); });
}

Peaks MeasurePeaks(const KernelSet* kernels, ThreadPool& pool, int64_t available_bytes) {
  Peaks peaks;
  peaks.threads = pool.num_threads();
  peaks.memory_bytes_per_s = MeasureMemoryBandwidth(pool, available_bytes);
  if (!kernels) return peaks;
  peaks.kernels = kernels->name;
  peaks.f32_flop_per_s = MeasureF32Peak(*kernels, pool);
  peaks.i8_op_per_s = MeasureI8Peak(*kernels, pool);
  return peaks;
}

RooflineTime LeastTime(const Work& work, const Peaks& peaks) {
  return {.memory_s = work.bytes() / peaks.memory_bytes_per_s,
          .compute_s = work.flop() / peaks.f32_flop_per_s + work.i8_op / peaks.i8_op_per_s};
}

Json PeaksJson(const Peaks& peaks) {
  const bool computes = !peaks.kernels.empty();
  return {{"threads", peaks.threads},
          {"memory_bytes_per_s", peaks.memory_bytes_per_s},
          {"f32_flop_per_s", computes ? Json(peaks.f32_flop_per_s) : Json()},
          {"i8_op_per_s", computes ? Json(peaks.i8_op_per_s) : Json()}};
}

std::string PeaksText(const Peaks& peaks) {
  std::string text = fmt::format("memory read at {}/s", BytesText(static_cast<int64_t>(peaks.memory_bytes_per_s)));
  if (!peaks.kernels.empty())
    text += fmt::format(", F32 {:.0f} GFLOP/s, 8-bit {:.0f} GOP/s ({})", peaks.f32_flop_per_s * 1e-9,
                        peaks.i8_op_per_s * 1e-9, peaks.kernels);
  return text + fmt::format(", by {} thread{}", peaks.threads, peaks.threads == 1 ? "" : "s");
}

}  // namespace minke
