// No BF16 dot product (AVX512_BF16), which such CPUs often have as well: VDPBF16PS is slower than FMA in F32 on those
// measured, 98 against 187 GFLOP/s, and rounds x.
#include <immintrin.h>

#include "minke/kernels/isa/isa_unit.h"

namespace minke {
namespace {

// clang-format off: each part builds on those before it
#include "minke/kernels/isa/quad_x86.inc"
#include "minke/kernels/isa/vec_avx512.inc"
#include "minke/kernels/isa/e4m3_table.inc"
#include "minke/kernels/body/all.inc"
// clang-format on

}  // namespace

extern const KernelSet kAvx512VnniKernels =
    MakeKernelSet("avx512_vnni", "AVX-512 F, BW, CD, DQ, VL with VNNI and VBMI", CpuHasAvx512Vnni);

}  // namespace minke
