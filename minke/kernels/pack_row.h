// Writing rows of the cache in their formats (kernels/paged_rows.h).
#pragma once

#include <cstdint>

#include "minke/kernels/kernel_set.h"

namespace minke {

// A latent row: x[rc] (c) and behind it x[dr] (k_pe) to `row`, RowFloats(format, rc, dr) floats.
void PackLatent(const KernelSet& kernels, RowFormat format, const float* x, int64_t rc, int64_t dr, float* row);

// An index key x[dim], after norm and RoPE, to `row`, RowFloats(format, dim, 0) floats; x is overwritten. One in kInt8
// has one scale, whatever its length: index_scores_i8 multiplies by it last.
void PackIndexKey(const KernelSet& kernels, RowFormat format, float* x, int64_t dim, float* row);

// Whether index queries and keys are rotated before they are scored, and the rotation: an orthogonal matrix leaves dot
// products as they are and spreads outliers before rounding. Nothing where dim is no power of two.
constexpr bool RotatesIndex(RowFormat format) { return format == RowFormat::kFp8 || format == RowFormat::kInt8; }
void RotateIndex(const KernelSet& kernels, float* x, int64_t dim);

}  // namespace minke
