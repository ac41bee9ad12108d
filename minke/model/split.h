// How a step's work is cut between threads. Forward follows these, and so does who predicts how long it takes.
#pragma once

#include <cstdint>

namespace minke {

// Tokens whose absorbed queries and latent outputs live at once; bounds the largest buffers.
inline constexpr int64_t kAttentionTile = 32;
// Multiply-adds that are worth waking another thread for: about 10 us of one core. A model without a matrix of more is
// not cut inside a step of few rows at all: threads take rows of their own.
inline constexpr int64_t kGrainMultiplyAdds = 1 << 17;
// Floats of elementwise work that go together.
inline constexpr int64_t kGrainFloats = 1 << 14;
// Of one query's attention, when there are too few queries for the threads.
inline constexpr int64_t kHeadsPerTask = 16;

}  // namespace minke
