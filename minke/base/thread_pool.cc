#include "minke/base/thread_pool.h"

#include <system_error>

#include "minke/base/check.h"

namespace minke {
namespace {

constexpr int kTaskBits = 20;
constexpr uint64_t kTaskMask = (uint64_t{1} << kTaskBits) - 1;
constexpr uint64_t kGenerationMask = (uint64_t{1} << 24) - 1;
// About 20 us at 3 GHz: longer than the serial code between two kernels of a decode step, far shorter
// than a scheduler slice, so a busy machine loses little.
constexpr int kSpins = 2000;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

uint64_t Generation(uint64_t ticket) { return ticket >> (2 * kTaskBits); }
uint64_t NumTasks(uint64_t ticket) { return (ticket >> kTaskBits) & kTaskMask; }
uint64_t NextTask(uint64_t ticket) { return ticket & kTaskMask; }

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  MINKE_CHECK(num_threads >= 1);
  workers_.reserve(static_cast<size_t>(num_threads) - 1);
  try {
    for (int worker = 1; worker < num_threads; ++worker) workers_.emplace_back([this, worker] { WorkerLoop(worker); });
  } catch (const std::system_error&) {
    StopAll();
    throw;
  }
}

Result<std::unique_ptr<ThreadPool>> ThreadPool::Create(int num_threads) {
  try {
    return std::make_unique<ThreadPool>(num_threads);
  } catch (const std::exception& e) {
    return Fail(Code::kNoMemory, "{} threads cannot be started ({}): ask for fewer with --threads", num_threads,
                e.what());
  }
}

ThreadPool& ThreadPool::Alone() {
  static ThreadPool alone(1);
  return alone;
}

ThreadPool::~ThreadPool() { StopAll(); }

void ThreadPool::StopAll() {
  stop_.store(true, std::memory_order_relaxed);
  const uint64_t next = (Generation(ticket_.load()) + 1) & kGenerationMask;
  ticket_.store(next << (2 * kTaskBits), std::memory_order_release);
  ticket_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::RunErased(int64_t num_tasks, TaskFn fn, void* context) {
  MINKE_CHECK(num_tasks <= static_cast<int64_t>(kTaskMask));
  if (num_tasks <= 0) return;
  if (workers_.empty() || num_tasks == 1) {
    for (int64_t task = 0; task < num_tasks; ++task) fn(context, task, 0);
    return;
  }
  MINKE_DCHECK(remaining_.load() == 0);
  fn_ = fn;
  context_ = context;
  remaining_.store(static_cast<int32_t>(num_tasks), std::memory_order_relaxed);
  const uint64_t generation = (Generation(ticket_.load(std::memory_order_relaxed)) + 1) & kGenerationMask;
  ticket_.store((generation << (2 * kTaskBits)) | (static_cast<uint64_t>(num_tasks) << kTaskBits),
                std::memory_order_release);
  ticket_.notify_all();
  while (RunOne(generation, 0)) {
  }
  for (int spins = 0;; ++spins) {
    const int32_t left = remaining_.load(std::memory_order_acquire);
    if (left == 0) return;
    if (spins < kSpins) {
      Pause();
    } else {
      remaining_.wait(left, std::memory_order_acquire);
    }
  }
}

bool ThreadPool::RunOne(uint64_t generation, int worker) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  do {
    if (Generation(ticket) != generation || NextTask(ticket) >= NumTasks(ticket)) return false;
  } while (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel, std::memory_order_acquire));
  fn_(context_, static_cast<int64_t>(NextTask(ticket)), worker);
  if (remaining_.fetch_sub(1, std::memory_order_acq_rel) == 1) remaining_.notify_one();
  return true;
}

void ThreadPool::WorkerLoop(int worker) {
  uint64_t seen = 0;  // the last generation with nothing left for us
  for (int spins = 0;;) {
    const uint64_t ticket = ticket_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    if (Generation(ticket) == seen) {
      if (++spins < kSpins) {
        Pause();
      } else {
        ticket_.wait(ticket, std::memory_order_acquire);
      }
      continue;
    }
    spins = 0;
    while (RunOne(Generation(ticket), worker)) {
    }
    seen = Generation(ticket);
  }
}

}  // namespace minke
