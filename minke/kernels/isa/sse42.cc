#include <immintrin.h>

#include "minke/kernels/isa/isa_unit.h"

namespace minke {
namespace {

// clang-format off: each part builds on those before it
#include "minke/kernels/isa/quad_x86.inc"
#include "minke/kernels/isa/vec_sse42.inc"
#include "minke/kernels/body/all.inc"
// clang-format on

}  // namespace

extern const KernelSet kSse42Kernels = MakeKernelSet("sse42", "SSE4.2 (x86-64-v2)", CpuHasSse42);

}  // namespace minke
