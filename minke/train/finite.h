// Which tensor a run went wrong in, once a loss, a gradient or a weight is not finite.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "minke/base/result.h"
#include "minke/model/parameters.h"

namespace minke {

// A tensor that is not finite among `values`, gradients or weights in the layout of Parameters::values, or "": the one
// nearest to the loss, as the backward pass goes through head, layers and embedding.
std::string BrokenTensor(const Parameters& parameters, std::span<const float> values);

// "the weights of TENSOR are not finite", or the same of a gradient, where no weight is to blame.
std::string WhatIsNotFinite(const Parameters& parameters, std::span<const float> gradients);

// kFailed unless all weights are finite; `where` they come from.
Status CheckWeights(std::string_view where, const Parameters& parameters);

}  // namespace minke
