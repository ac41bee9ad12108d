#include <immintrin.h>

#include "minke/kernels/isa/isa_unit.h"

namespace minke {
namespace {

// clang-format off: each part builds on those before it
#include "minke/kernels/isa/quad_x86.inc"
#include "minke/kernels/isa/vec_avx512.inc"
#include "minke/kernels/body/all.inc"
// clang-format on

}  // namespace

extern const KernelSet kAvx512Kernels = MakeKernelSet("avx512", "AVX-512 F, BW, CD, DQ, VL", CpuHasAvx512);

}  // namespace minke
