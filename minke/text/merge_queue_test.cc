#include "minke/text/merge_queue.h"

#include <gtest/gtest.h>

#include <random>

namespace minke {
namespace {

TEST(MergeQueue, BothGiveTheLowestRankThenTheLeftmost) {
  std::mt19937 random(5);
  BucketQueue buckets;
  buckets.Prepare(100);
  for (int round = 0; round < 200; ++round) {  // the queue is reused, as from piece to piece
    HeapQueue heap;
    for (int step = 0; step < 300 || !heap.empty(); ++step) {
      ASSERT_EQ(heap.empty(), buckets.empty());
      if (step < 300 && random() % 3 != 0) {
        const QueuedMerge merge = {static_cast<uint32_t>(random() % 100), static_cast<uint32_t>(random() % 50)};
        heap.Push(merge);
        buckets.Push(merge);
      } else if (!heap.empty()) {
        const QueuedMerge expected = heap.Pop(), got = buckets.Pop();
        ASSERT_EQ(got.rank, expected.rank);
        ASSERT_EQ(got.index, expected.index);
      }
    }
  }
}

}  // namespace
}  // namespace minke
