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
    MakeKernelSet("avx512_vnni", "AVX-512 F, BW, CD, DQ, VL with VNNI, BF16 and VBMI", CpuHasAvx512Vnni);

}  // namespace minke
