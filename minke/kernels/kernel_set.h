// The door of the kernels: which implementations this build has, and the choice of one of them.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "minke/base/result.h"
#include "minke/kernels/kernel_table.h"

namespace minke {

std::span<const KernelSet> AllKernelSets();  // best first, "reference" last; built for this architecture

// The best supported set, or the one named by `isa` ("" for best). Errors: kInvalidArgument for a name we do
// not know (lists those we do), kUnsupported for one this CPU lacks.
Result<const KernelSet*> ChooseKernelSet(std::string_view isa);

}  // namespace minke
