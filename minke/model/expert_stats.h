// How the experts of a model that is larger than its memory came to be there.
#pragma once

#include <cstdint>

namespace minke {

struct ExpertStats {
  int64_t needed = 0;        // experts that a layer asked for, once a step
  int64_t hits = 0;          // of those, in memory already
  int64_t prefetched = 0;    // of those, read or being read because the layer before guessed them
  int64_t missed_bytes = 0;  // of the needed ones that were no hits
  int64_t read_bytes = 0;    // all that was read: those, and wrong guesses

  double hit_rate() const { return needed > 0 ? static_cast<double>(hits) / static_cast<double>(needed) : 1; }
  ExpertStats& operator+=(const ExpertStats& o) {
    needed += o.needed, hits += o.hits, prefetched += o.prefetched;
    missed_bytes += o.missed_bytes, read_bytes += o.read_bytes;
    return *this;
  }
  ExpertStats operator-(const ExpertStats& o) const {
    return {needed - o.needed, hits - o.hits, prefetched - o.prefetched, missed_bytes - o.missed_bytes,
            read_bytes - o.read_bytes};
  }
};

}  // namespace minke
