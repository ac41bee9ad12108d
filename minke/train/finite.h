// Which tensor a run went wrong in, once a loss, a gradient or a weight is not finite.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "minke/base/result.h"
#include "minke/model/parameters.h"

namespace minke {

// The last tensor of the list that is not finite among `values`, gradients or weights in the layout of
// Parameters::values, or "". Of gradients that is the one nearest to the loss: the backward pass reaches it first.
std::string BrokenTensor(const Parameters& parameters, std::span<const float> values);

// kFailed unless all weights are finite: "WHAT: the weights of TENSOR are not finite".
Status CheckWeights(std::string_view what, const Parameters& parameters);

// kFailed unless `sum` is finite, the losses and the norms of the gradients added up; names a tensor of the weights or
// else of the gradients: "WHAT: the loss is nan; ...".
Status CheckLoss(std::string_view what, double loss, double sum, const Parameters& parameters,
                 std::span<const float> gradients);

}  // namespace minke
