#include "minke/train/finite.h"

#include <cmath>
#include <ranges>
#include <vector>

namespace minke {
namespace {

// The list has the embedding, then norm and head, then the layers from the first to the MTP layer.
std::vector<const Parameter*> BackwardOrder(const Parameters& parameters) {
  const auto is_layer = [](const Parameter& p) { return p.name.starts_with("model.layers."); };
  std::vector<const Parameter*> order;
  for (const Parameter& p : parameters.list())
    if (!is_layer(p) && p.name != "model.embed_tokens.weight") order.push_back(&p);
  for (const Parameter& p : std::views::reverse(parameters.list()))
    if (is_layer(p)) order.push_back(&p);
  for (const Parameter& p : parameters.list())
    if (p.name == "model.embed_tokens.weight") order.push_back(&p);
  return order;
}

}  // namespace

std::string BrokenTensor(const Parameters& parameters, std::span<const float> values) {
  for (const Parameter* p : BackwardOrder(parameters))
    for (int64_t i = 0; i < p->size; ++i)
      if (!std::isfinite(values[static_cast<size_t>(p->offset + i)])) return p->name;
  return {};
}

std::string WhatIsNotFinite(const Parameters& parameters, std::span<const float> gradients) {
  if (const std::string name = BrokenTensor(parameters, parameters.values()); !name.empty())
    return fmt::format("the weights of {} are not finite", name);
  if (const std::string name = BrokenTensor(parameters, gradients); !name.empty())
    return fmt::format("all weights are finite, and the gradient of {} is not", name);
  return "all weights and gradients are finite";
}

Status CheckWeights(std::string_view where, const Parameters& parameters) {
  const std::string name = BrokenTensor(parameters, parameters.values());
  if (name.empty()) return {};
  return Fail(Code::kFailed, "{}: the weights of {} are not finite", where, name);
}

}  // namespace minke
