// A cache that nobody computed: benchmarks reach any depth in seconds with it. Latents after their norm, and index keys
// after theirs, have values of about one, and so have these rows.
#pragma once

#include <cstdint>

#include "minke/base/thread_pool.h"
#include "minke/engine/page_pool.h"
#include "minke/kernels/kernel_set.h"

namespace minke {

// Fills the pages that hold positions [begin, end), and whatever else lies on them. Different seeds, different rows.
void FillWithRandomRows(const PageTable& table, const CacheLayout& layout, int64_t begin, int64_t end, uint64_t seed,
                        const KernelSet& kernels, ThreadPool& pool);

}  // namespace minke
