#include <immintrin.h>

#include "minke/kernels/isa/isa_unit.h"

namespace minke {
namespace {

// clang-format off: each part builds on those before it
#include "minke/kernels/isa/quad_x86.inc"
#include "minke/kernels/isa/vec_avx2.inc"
#include "minke/kernels/body/all.inc"
// clang-format on

}  // namespace

extern const KernelSet kAvx2Kernels = MakeKernelSet("avx2", "AVX2, FMA, F16C", CpuHasAvx2);

}  // namespace minke
