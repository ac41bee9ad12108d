#include <arm_neon.h>

#include "minke/kernels/isa/isa_unit.h"

namespace minke {
namespace {

// clang-format off: each part builds on those before it
#include "minke/kernels/isa/vec_neon.inc"
#include "minke/kernels/body/all.inc"
// clang-format on

}  // namespace

extern const KernelSet kNeonDotprodKernels =
    MakeKernelSet("neon_dotprod", "NEON (armv8.2-a with dot product and half floats)", CpuHasNeonDotprod);

}  // namespace minke
