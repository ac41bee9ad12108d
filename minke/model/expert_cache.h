// The routed experts that are in memory while the others are in their files. For one Forward and its thread.
//
// In a layer: Need says which experts the batch asks for and starts to read those that are not here, all at once;
// Next hands them out as they arrive; Release lets one be replaced. Prefetch starts to read experts that a later layer
// may ask for, behind everything that is known to be needed.
//
// The least useful expert makes room. Usefulness is the sum over its uses of 2^(-age / kHalfLife), age in passes: with
// a short half-life that is "least recently used", with a long one "least often used" (docs/performance.md compares).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "minke/model/expert_stats.h"
#include "minke/model/weight_source.h"

namespace minke {

class ExpertCache {
 public:
  // `bytes` hold at least one expert. Errors: kNoMemory.
  static Result<std::unique_ptr<ExpertCache>> Create(WeightSource& source, const ModelWeights& weights, int64_t bytes);
  ~ExpertCache();

  void BeginPass() { ++passes_; }
  // `experts` ascend. All of the previous layer's are released.
  void Need(int64_t layer, std::span<const int32_t> experts);
  // Index into `experts` of one that is here and was not handed out; waits for it. In order, or whichever is here.
  // -1 when none is left.
  int64_t Next(bool in_order);
  // The expert's matrices, valid until it is released.
  MlpWeights Weights(int64_t index) const;
  void Release(int64_t index);
  void Prefetch(int64_t layer, std::span<const int32_t> experts);

  int64_t num_slots() const { return std::ssize(slots_); }
  const ExpertStats& stats() const { return stats_; }

 private:
  struct Slot {
    int64_t expert = -1;  // layer * experts_per_layer + e; -1: empty
    int num_jobs = 0;
    std::array<FileReader::Job, 3> jobs;
    bool in_use = false;   // the running layer needs it
    bool guessed = false;  // prefetched for a layer that has not run yet
    bool kept = false;     // while Prefetch looks for room: one of its guesses
    bool idle() const;     // nothing is being read into it
  };
  struct Needed {
    int64_t expert = -1;
    bool taken = false;
  };

  ExpertCache(WeightSource& source, const ModelWeights& weights);
  int64_t SlotOf(int64_t expert) const { return slot_of_[static_cast<size_t>(expert)]; }
  int64_t FindRoom() const;
  void Read(int64_t expert, int64_t slot, bool urgent);
  void Forget(Slot& slot);
  void DropGuess(Slot& slot);
  bool GiveUpOneAfter(size_t index);
  void ReadMissing();
  void Use(int64_t expert);

  WeightSource& source_;
  const ModelWeights& weights_;
  PageMemory memory_;
  std::vector<Slot> slots_;
  std::vector<int32_t> slot_of_;  // [layers * experts_per_layer]; -1: not here
  std::vector<double> worth_;     // the same: log2 of the sum above, less the age of the world
  std::vector<Needed> needed_;    // of the running layer
  size_t missing_from_ = 0;       // in needed_: all before have a slot or are done
  double precision_ = 1;          // of late guesses, those that were right
  int64_t layer_ = 0;
  int64_t passes_ = 0;
  ExpertStats stats_;
};

}  // namespace minke
