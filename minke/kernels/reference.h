// The specification of every entry: plain loops with double sums, no cleverness.
#pragma once

#include "minke/kernels/kernel_table.h"

namespace minke {

KernelSet ReferenceKernelSet();

}  // namespace minke
