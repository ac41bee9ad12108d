// Which merge of a piece comes next: lowest rank first, leftmost of equals. Two queues with one meaning; bpe.cc picks
// by the length of the piece. Private to the room.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace minke {

struct QueuedMerge {
  uint32_t rank;
  uint32_t index;  // of the left symbol
};

// A binary heap: little to set up, log n for each merge.
class HeapQueue {
 public:
  bool empty() const { return entries_.empty(); }
  void Push(QueuedMerge merge) {
    entries_.push_back(static_cast<uint64_t>(merge.rank) << 32 | merge.index);
    std::push_heap(entries_.begin(), entries_.end(), std::greater<>());
  }
  QueuedMerge Pop() {
    std::pop_heap(entries_.begin(), entries_.end(), std::greater<>());
    const uint64_t top = entries_.back();
    entries_.pop_back();
    return {static_cast<uint32_t>(top >> 32), static_cast<uint32_t>(top)};
  }

 private:
  std::vector<uint64_t> entries_;
};

// One list of indices for each rank that waits, and a heap of those ranks. A long piece repeats few pairs many times,
// so nearly every step is an append to one list or a read from another: linear, and in the order of the text.
class BucketQueue {
 public:
  // All ranks are below num_ranks. Keeps its memory from piece to piece.
  void Prepare(size_t num_ranks) { bucket_of_.resize(num_ranks, kNone); }
  bool empty() const { return ranks_.empty(); }

  void Push(QueuedMerge merge) {
    uint32_t& bucket = bucket_of_[merge.rank];
    if (bucket == kNone) {
      if (free_.empty()) {
        free_.push_back(static_cast<uint32_t>(buckets_.size()));
        buckets_.emplace_back();
      }
      bucket = free_.back();
      free_.pop_back();
      ranks_.push_back(merge.rank);
      std::push_heap(ranks_.begin(), ranks_.end(), std::greater<>());
    }
    Bucket& list = buckets_[bucket];
    list.sorted = list.sorted && (list.indices.empty() || list.indices.back() <= merge.index);
    list.indices.push_back(merge.index);
  }

  // A list is sorted at most once: while its rank is the lowest, each merge makes a longer token, whose pairs have
  // other ranks.
  QueuedMerge Pop() {
    const uint32_t rank = ranks_.front();
    Bucket& list = buckets_[bucket_of_[rank]];
    if (!list.sorted) std::sort(list.indices.begin() + static_cast<ptrdiff_t>(list.next), list.indices.end());
    list.sorted = true;
    const uint32_t index = list.indices[list.next++];
    if (list.next == list.indices.size()) {
      list.indices.clear();
      list.next = 0;
      free_.push_back(bucket_of_[rank]);
      bucket_of_[rank] = kNone;
      std::pop_heap(ranks_.begin(), ranks_.end(), std::greater<>());
      ranks_.pop_back();
    }
    return {rank, index};
  }

 private:
  static constexpr uint32_t kNone = ~uint32_t{0};
  struct Bucket {
    std::vector<uint32_t> indices;
    size_t next = 0;
    bool sorted = true;
  };
  std::vector<uint32_t> bucket_of_;  // by rank
  std::vector<Bucket> buckets_;
  std::vector<uint32_t> free_;   // of buckets_
  std::vector<uint32_t> ranks_;  // heap of the ranks that wait
};

}  // namespace minke
