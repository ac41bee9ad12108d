#include <arm_neon.h>

#include "minke/kernels/isa/isa_unit.h"

namespace minke {
namespace {

// clang-format off: each part builds on those before it
#include "minke/kernels/isa/vec_neon.inc"
#include "minke/kernels/body/all.inc"
// clang-format on

}  // namespace

extern const KernelSet kNeonKernels = MakeKernelSet("neon", "NEON (armv8-a)", CpuHasNeon);

}  // namespace minke
