#include "minke/base/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>

namespace minke {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, EveryTaskRunsOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.num_threads(), GetParam());
  for (const int64_t tasks : {0, 1, 2, 3, 17, 1000}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks));
    pool.Run(tasks, [&](int64_t task, int worker) {
      EXPECT_GE(worker, 0);
      EXPECT_LT(worker, pool.num_threads());
      runs[static_cast<size_t>(task)].fetch_add(1);
    });
    for (const auto& count : runs) EXPECT_EQ(count.load(), 1);
  }
}

TEST_P(ThreadPoolTest, NoTwoTasksShareAWorkerAtOnce) {
  ThreadPool pool(GetParam());
  std::vector<std::atomic<int>> inside(static_cast<size_t>(GetParam()));
  std::atomic<bool> shared{false};
  pool.Run(500, [&](int64_t, int worker) {
    if (inside[static_cast<size_t>(worker)].fetch_add(1) != 0) shared = true;
    inside[static_cast<size_t>(worker)].fetch_sub(1);
  });
  EXPECT_FALSE(shared.load());
}

// Many short jobs back to back: a late worker must never take a task of the next job, nor the caller return early.
TEST_P(ThreadPoolTest, ManyShortJobs) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> values(8);
  for (int64_t job = 1; job <= 5000; ++job) {
    pool.Run(static_cast<int64_t>(values.size()), [&](int64_t task, int) { values[static_cast<size_t>(task)] = job; });
    for (const int64_t value : values) ASSERT_EQ(value, job);
  }
}

TEST_P(ThreadPoolTest, WorkersWakeAfterTheyParked) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // far longer than the spin
    std::atomic<int64_t> sum{0};
    pool.Run(100, [&](int64_t task, int) { sum.fetch_add(task); });
    EXPECT_EQ(sum.load(), 4950);
  }
}

TEST_P(ThreadPoolTest, RangesTile) {
  ThreadPool pool(GetParam());
  for (const int64_t n : {0, 1, 7, 64, 1001}) {
    for (const int64_t grain : {1, 8, 5000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
      pool.ForRanges(n, grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) seen[static_cast<size_t>(i)].fetch_add(1);
      });
      for (const auto& count : seen) EXPECT_EQ(count.load(), 1);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 3, 8));

TEST(ThreadPool, StartsAndStopsWithoutWork) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(1 + i % 4);
}

}  // namespace
}  // namespace minke
