#include "minke/cli/version.h"

#include <fmt/format.h>

#include "minke/kernels/kernel_set.h"

namespace minke {

std::string_view Version() { return MINKE_VERSION; }

std::string VersionText(std::string_view isa) {
  std::string sets;
  for (const KernelSet& set : AllKernelSets()) sets += fmt::format("{}{}", sets.empty() ? "" : " ", set.name);
  const auto used = ChooseKernelSet(isa);
#if defined(__clang__)
  const std::string compiler = fmt::format("clang {}", __clang_version__);
#else
  const std::string compiler = fmt::format("g++ {}", __VERSION__);
#endif
  return fmt::format("minke {}\ncommit {}\ncompiler {}\ninstruction sets built: {}\ninstruction set in use: {}\n",
                     MINKE_VERSION, MINKE_COMMIT, compiler, sets, used ? (*used)->name : used.error().message);
}

}  // namespace minke
