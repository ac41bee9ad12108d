#include "minke/train/finite.h"

#include <cmath>
#include <ranges>

namespace minke {

std::string BrokenTensor(const Parameters& parameters, std::span<const float> values) {
  for (const Parameter& p : std::views::reverse(parameters.list()))
    for (int64_t i = 0; i < p.size; ++i)
      if (!std::isfinite(values[static_cast<size_t>(p.offset + i)])) return p.name;
  return {};
}

Status CheckWeights(std::string_view what, const Parameters& parameters) {
  const std::string broken = BrokenTensor(parameters, parameters.values());
  if (broken.empty()) return {};
  return Fail(Code::kFailed, "{}: the weights of {} are not finite", what, broken);
}

Status CheckLoss(std::string_view what, double loss, double sum, const Parameters& parameters,
                 std::span<const float> gradients) {
  if (std::isfinite(sum)) return {};
  MINKE_TRY(CheckWeights(what, parameters));
  const std::string broken = BrokenTensor(parameters, gradients);
  return Fail(Code::kFailed, "{}: the loss is {}; {}", what, loss,
              broken.empty() ? "all weights and gradients are finite"
                             : "all weights are finite, and the gradient of " + broken + " is the first that is not");
}

}  // namespace minke
