// AdamW against its equations in double.
#include "minke/train/optimizer.h"

#include <cmath>
#include <limits>

#include "minke/base/rng.h"
#include "minke/train/small_run_testing.h"

namespace minke {
namespace {

class Optimizer : public SmallRun {
 protected:
  // Of step t: another direction for each tensor, of a size that the clip meets in some steps.
  std::vector<float> Gradients(const Parameters& parameters, int t, float size) const {
    std::vector<float> g(parameters.values().size());
    const Philox random(9, static_cast<uint64_t>(t));
    for (const Parameter& p : parameters.list())
      for (int64_t i = p.offset; i < p.offset + p.size; ++i)
        g[static_cast<size_t>(i)] = size * static_cast<float>(random.Uniform(static_cast<uint64_t>(i)) - 0.5);
    return g;
  }
};

TEST_F(Optimizer, IsAdamWWithDecayOnMatricesAndAClipForEachGroup) {
  const auto parameters = NewModel();
  ThreadPool pool(2);
  const AdamWOptions o{.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f, .clip = 1.0f};
  AdamW optimizer(*parameters, TestKernels(), pool, o);
  const size_t n = parameters->values().size();
  std::vector<double> x(parameters->values().begin(), parameters->values().end()), m(n), v(n);
  int64_t steps[2] = {0, 0};
  struct Step {
    float size;
    AdamW::Rates rates;
  };
  const Step all[] = {{1e-4f, {1e-2, 3e-2}}, {1.0f, {1e-2, {}}}, {1e-2f, {{}, 1e-2}}, {0.5f, {2e-2, 1e-3}}};
  int t = 0;
  for (const Step& step : all) {
    const std::vector<float> g = Gradients(*parameters, t++, step.size);
    double squares[2] = {0, 0};
    for (const Parameter& p : parameters->list())
      for (int64_t i = p.offset; i < p.offset + p.size; ++i)
        squares[p.indexer] += std::pow(static_cast<double>(g[static_cast<size_t>(i)]), 2);
    const AdamW::Norms norms = optimizer.NormsOf(g);
    EXPECT_NEAR(norms.model, std::sqrt(squares[0]), 1e-6 * norms.model);
    EXPECT_NEAR(norms.indexer, std::sqrt(squares[1]), 1e-6 * norms.indexer);
    optimizer.Update(g, norms, step.rates);
    for (const bool indexer : {false, true}) {
      const auto& rate = indexer ? step.rates.indexer : step.rates.model;
      if (!rate) continue;
      const double time = static_cast<double>(++steps[indexer]);
      const double clip = std::min(1.0, 1 / std::sqrt(squares[indexer]));
      for (const Parameter& p : parameters->list()) {
        if (p.indexer != indexer || p.kind == ParameterKind::kRouterBias) continue;
        for (auto i = static_cast<size_t>(p.offset); i < static_cast<size_t>(p.offset + p.size); ++i) {
          const double gradient = clip * static_cast<double>(g[i]);
          m[i] = 0.9 * m[i] + 0.1 * gradient, v[i] = 0.95 * v[i] + 0.05 * gradient * gradient;
          const double mean = m[i] / (1 - std::pow(0.9, time)), square = v[i] / (1 - std::pow(0.95, time));
          const double decay = p.kind == ParameterKind::kMatrix ? 0.1 : 0;
          x[i] -= *rate * (decay * x[i] + mean / (std::sqrt(square) + 1e-8));
        }
      }
    }
    for (const Parameter& p : parameters->list())
      for (auto i = static_cast<size_t>(p.offset); i < static_cast<size_t>(p.offset + p.size); ++i)
        ASSERT_NEAR(static_cast<double>(parameters->values()[i]), x[i], 1e-6 * (1 + std::fabs(x[i])))
            << p.name << " step " << t;
  }
  EXPECT_EQ(optimizer.steps.model, 3);
  EXPECT_EQ(optimizer.steps.indexer, 3);
  EXPECT_TRUE(std::ranges::equal(SeenByModel(*parameters)->values(), parameters->values())) << "not published";
}

TEST_F(Optimizer, AGradientThatIsNotFiniteHasNoFiniteNorm) {
  const auto parameters = NewModel();
  std::vector<float> g = Gradients(*parameters, 0, 1);
  const Parameter& p = parameters->list()[7];
  g[static_cast<size_t>(p.offset + p.size - 1)] = std::numeric_limits<float>::infinity();
  ThreadPool pool(1);
  EXPECT_FALSE(std::isfinite(AdamW(*parameters, TestKernels(), pool, {}).NormsOf(g).model));
}

TEST_F(Optimizer, TheRouterBiasGoesAgainstTheLoad) {
  const auto parameters = NewModel();
  const auto bias = [&](int layer) {  // as the model sees it
    const auto seen = SeenByModel(*parameters);
    for (const Parameter& p : seen->list())
      if (p.name == fmt::format("model.layers.{}.mlp.gate.e_score_correction_bias", layer))
        return std::vector<float>(seen->values_of(p).begin(), seen->values_of(p).end());
    return std::vector<float>();
  };
  std::vector<int64_t> loads(3 * 8);
  const int64_t layer1[] = {4, 4, 3, 5, 4, 4, 0, 8};
  std::copy(std::begin(layer1), std::end(layer1), loads.begin() + 8);
  UpdateRouterBias(*parameters, {loads.data(), {3, 8}}, 0.5f);
  EXPECT_EQ(bias(1), (std::vector<float>{0, 0, 0.5f, -0.5f, 0, 0, 0.5f, -0.5f}));
  EXPECT_EQ(bias(2), std::vector<float>(8));  // no load at all
  // A mean that is no whole number: 1 of 8 experts above it.
  std::fill(loads.begin(), loads.end(), 0);
  loads[8] = 1;
  UpdateRouterBias(*parameters, {loads.data(), {2, 8}}, 0.5f);
  EXPECT_EQ(bias(1), (std::vector<float>{-0.5f, 0.5f, 1, 0, 0.5f, 0.5f, 1, 0}));
}

}  // namespace
}  // namespace minke
