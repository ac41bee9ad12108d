#include "minke/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace minke {

AdamW::AdamW(Parameters& parameters, const KernelSet& kernels, ThreadPool& pool, const AdamWOptions& options)
    : parameters_(parameters),
      kernels_(kernels),
      pool_(pool),
      options_(options),
      mean_(parameters.values().size()),
      square_(parameters.values().size()) {}

AdamW::Norms AdamW::NormsOf(std::span<const float> gradients) const {
  const auto list = parameters_.list();
  std::vector<double> squares(list.size());
  pool_.Run(std::ssize(list), [&](int64_t i, int) {
    const Parameter& p = list[static_cast<size_t>(i)];
    squares[static_cast<size_t>(i)] = kernels_.sum_squares(gradients.data() + p.offset, p.size);
  });
  Norms norms;
  for (size_t i = 0; i < list.size(); ++i) (list[i].indexer ? norms.indexer : norms.model) += squares[i];
  return {std::sqrt(norms.model), std::sqrt(norms.indexer)};
}

void AdamW::Update(std::span<const float> gradients, const Norms& norms, const Rates& rates) {
  steps.model += rates.model.has_value();
  steps.indexer += rates.indexer.has_value();
  const auto step_of = [&](double rate, double norm, int64_t t) {
    const double c1 = 1 - std::pow(static_cast<double>(options_.beta1), static_cast<double>(t));
    const double c2 = 1 - std::pow(static_cast<double>(options_.beta2), static_cast<double>(t));
    return AdamWStep{.lr = static_cast<float>(rate),
                     .beta1 = options_.beta1,
                     .beta2 = options_.beta2,
                     .eps = options_.eps,
                     .decay = 0,
                     .c1 = static_cast<float>(c1),
                     .c2 = static_cast<float>(c2),
                     .grad_scale = norm > options_.clip ? static_cast<float>(options_.clip / norm) : 1.0f};
  };
  const AdamWStep model = step_of(rates.model.value_or(0), norms.model, steps.model);
  const AdamWStep indexer = step_of(rates.indexer.value_or(0), norms.indexer, steps.indexer);
  const auto list = parameters_.list();
  pool_.Run(std::ssize(list), [&](int64_t i, int) {
    const Parameter& p = list[static_cast<size_t>(i)];
    if (p.kind == ParameterKind::kRouterBias || !(p.indexer ? rates.indexer : rates.model)) return;
    if (p.mtp && !rates.mtp) return;
    AdamWStep step = p.indexer ? indexer : model;
    if (p.kind == ParameterKind::kMatrix) step.decay = options_.weight_decay;
    kernels_.adamw(parameters_.values_of(p).data(), gradients.data() + p.offset, mean_.data() + p.offset,
                   square_.data() + p.offset, p.size, step);
  });
  parameters_.Publish();
}

void UpdateRouterBias(Parameters& parameters, TensorView<const int64_t, 2> loads, float speed) {
  // The list has the layers in order, and in each MoE layer of noaux_tc one bias; loads of other layers are zero.
  for (const Parameter& p : parameters.list()) {
    if (p.kind != ParameterKind::kRouterBias) continue;
    const int64_t layer = std::stoll(p.name.substr(std::string_view("model.layers.").size()));
    if (layer >= loads.dim(0)) continue;
    const auto load = loads[layer];
    const int64_t sum = std::accumulate(load.begin(), load.end(), int64_t{0}), count = std::ssize(load);
    const auto bias = parameters.values_of(p);
    for (size_t e = 0; e < load.size(); ++e) {
      const int64_t above = load[e] * count - sum;  // of the mean, times count
      bias[e] += above == 0 ? 0 : above > 0 ? -speed : speed;
    }
  }
  parameters.Publish();
}

}  // namespace minke
