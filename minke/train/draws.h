// Small random decisions in a row, each a pure function of (seed, stream, its number): problems and demonstrations are
// the same on every machine and in any order of work.
#pragma once

#include <cstdint>
#include <string_view>

#include "minke/base/rng.h"
#include "minke/train/fnv.h"

namespace minke {

class Draws {
 public:
  Draws(uint64_t seed, uint64_t stream, uint64_t first = 0) : philox_(seed, stream), next_(first) {}

  double Unit() { return philox_.Uniform(next_++); }  // [0, 1)
  int Below(int count) { return static_cast<int>((uint64_t{philox_.Block(next_++)[0]} * uint64_t(count)) >> 32); }
  int Between(int least, int most) { return least + Below(most - least + 1); }
  bool OneIn(int count) { return Below(count) == 0; }
  template <class List>
  const auto& Choose(const List& list) {  // not empty
    return list[static_cast<size_t>(Below(static_cast<int>(std::size(list))))];
  }
  template <class List>
  void Shuffle(List& list) {
    for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[static_cast<size_t>(Below(int(i)))]);
  }

 private:
  Philox philox_;
  uint64_t next_;
};

// FNV-1a with a final mix: the same number on every machine.
inline uint64_t HashText(std::string_view text) {
  uint64_t hash = Fnv1a(text);
  hash = (hash ^ (hash >> 30)) * 0xBF58476D1CE4E5B9;
  hash = (hash ^ (hash >> 27)) * 0x94D049BB133111EB;
  return hash ^ (hash >> 31);
}

// A seed of its own for item `index` of a run with `seed`.
inline uint64_t SeedOf(uint64_t seed, uint64_t index) {
  const auto words = Philox(seed, index).Block(UINT64_MAX);
  return (uint64_t{words[0]} << 32) | words[1];
}

}  // namespace minke
