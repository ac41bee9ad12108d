#include "minke/kernels/kernel_set.h"

#include <array>

#include "minke/kernels/isa/isa_sets.h"

namespace minke {

std::span<const KernelSet> AllKernelSets() {
  static const std::array sets = {
#if defined(__x86_64__)
      kAvx512VnniKernels, kAvx512Kernels, kAvx2Kernels, kSse42Kernels,
#elif defined(__aarch64__)
      kNeonDotprodKernels,
      kNeonKernels,
#endif
      kReferenceKernels,
  };
  return sets;
}

Result<const KernelSet*> ChooseKernelSet(std::string_view isa) {
  std::string known;
  for (const KernelSet& set : AllKernelSets()) {
    if (isa.empty() ? set.supported() : isa == set.name) {
      if (!set.supported())
        return Fail(Code::kUnsupported, "instruction set '{}': this CPU or its operating system lacks it ({})", isa,
                    set.description);
      return &set;
    }
    known += known.empty() ? set.name : fmt::format(", {}", set.name);
  }
  return Fail(Code::kInvalidArgument, "instruction set '{}' is not known; this build has {}", isa, known);
}

}  // namespace minke
