// The table of each ISA unit. They are constants: reading one runs no code of that unit.
#pragma once

#include "minke/kernels/kernel_table.h"

namespace minke {

extern const KernelSet kAvx512VnniKernels;
extern const KernelSet kAvx512Kernels;
extern const KernelSet kAvx2Kernels;
extern const KernelSet kSse42Kernels;
extern const KernelSet kNeonDotprodKernels;
extern const KernelSet kNeonKernels;
extern const KernelSet kReferenceKernels;

}  // namespace minke
