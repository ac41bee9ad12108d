// A fork-join pool for kernels: the caller works too, nothing is allocated, waiting spins briefly and
// then parks. Which worker runs a task is not fixed; kernels must not let results depend on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "minke/base/result.h"

namespace minke {

class ThreadPool {
 public:
  // `num_threads` counts the caller; 1 means that everything runs in the caller.
  // Throws std::system_error when the system gives fewer threads; Create is for numbers that come from a user.
  explicit ThreadPool(int num_threads);
  static Result<std::unique_ptr<ThreadPool>> Create(int num_threads);
  // The caller alone, for what is a task of another pool already. It has no state, so any number of threads share it.
  static ThreadPool& Alone();
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls f(task, worker) for task in [0, num_tasks), worker in [0, num_threads), and returns when all
  // are done. One caller at a time, but for Alone; f must not call Run of the same pool.
  template <class F>
  void Run(int64_t num_tasks, F&& f) {
    using Fn = std::remove_reference_t<F>;
    RunErased(
        num_tasks, [](void* context, int64_t task, int worker) { (*static_cast<Fn*>(context))(task, worker); },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

  // Splits [0, n) into ranges of at least `grain` and calls f(begin, end, worker). The borders depend on
  // the thread count, so f's result for one index must not depend on its range.
  template <class F>
  void ForRanges(int64_t n, int64_t grain, F&& f) {
    const int64_t most = num_threads() == 1 ? 1 : 4 * int64_t{num_threads()};
    int64_t pieces = grain > 0 ? n / grain : n;
    pieces = pieces < 1 ? 1 : (pieces > most ? most : pieces);
    Run(pieces, [&](int64_t piece, int worker) {
      const int64_t begin = n * piece / pieces, end = n * (piece + 1) / pieces;
      if (begin < end) f(begin, end, worker);
    });
  }

 private:
  using TaskFn = void (*)(void* context, int64_t task, int worker);
  void StopAll();
  void RunErased(int64_t num_tasks, TaskFn fn, void* context);
  void WorkerLoop(int worker);
  bool RunOne(uint64_t generation, int worker);  // false when no task of this job is left

  // generation (24 bits) | number of tasks (20) | next task (20): a claim is one compare-and-swap, so a
  // worker that wakes late can never take a task of another job.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int32_t> remaining_{0};
  std::atomic<bool> stop_{false};
  TaskFn fn_ = nullptr;
  void* context_ = nullptr;
  std::vector<std::thread> workers_;
};

}  // namespace minke
