// Every backward of gradient_reference.h against central differences of its forward, in double.
#include "minke/kernels/gradient_reference.h"

#include <gtest/gtest.h>

#include <functional>

#include "minke/base/rng.h"

namespace minke::plain {
namespace {

using Vector = std::vector<double>;

Vector Numbers(int64_t n, uint64_t seed) {
  const Philox philox(seed, 0);
  Vector x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = 2 * philox.Uniform(i) - 1;
  return x;
}

// Changes x and looks at `loss`, which reads it.
void ExpectGradient(Vector& x, const Vector& gradient, const std::function<double()>& loss) {
  ASSERT_EQ(x.size(), gradient.size());
  constexpr double kStep = 1e-5;  // its square is the relative error of a difference
  double largest = 0;
  for (const double g : gradient) largest = std::max(largest, std::fabs(g));
  for (size_t i = 0; i < x.size(); ++i) {
    const double kept = x[i];
    x[i] = kept + kStep;
    const double above = loss();
    x[i] = kept - kStep;
    const double below = loss();
    x[i] = kept;
    EXPECT_NEAR((above - below) / (2 * kStep), gradient[i], 1e-7 * largest) << "element " << i;
  }
}

TEST(GradientReference, RmsNorm) {
  Vector x = Numbers(7, 1), weight = Numbers(7, 2), dx(7), dweight(7);
  const Vector dy = Numbers(7, 3);
  const auto loss = [&] {
    Vector y(7);
    RmsNorm(x.data(), weight.data(), 7, 1e-3f, y.data());
    return Dot(y.data(), dy.data(), 7);
  };
  RmsNormGrad(x.data(), weight.data(), dy.data(), 7, 1e-3f, dx.data(), dweight.data());
  ExpectGradient(x, dx, loss);
  ExpectGradient(weight, dweight, loss);
}

TEST(GradientReference, LayerNorm) {
  Vector x = Numbers(7, 1), weight = Numbers(7, 2), bias = Numbers(7, 4), dx(7), dweight(7), dbias(7);
  const Vector dy = Numbers(7, 3);
  const auto loss = [&] {
    Vector y(7);
    LayerNorm(x.data(), weight.data(), bias.data(), 7, 1e-3f, y.data());
    return Dot(y.data(), dy.data(), 7);
  };
  LayerNormGrad(x.data(), weight.data(), dy.data(), 7, 1e-3f, dx.data(), dweight.data(), dbias.data());
  ExpectGradient(x, dx, loss);
  ExpectGradient(weight, dweight, loss);
  ExpectGradient(bias, dbias, loss);
}

TEST(GradientReference, SiluMul) {
  Vector gate = Numbers(9, 1), up = Numbers(9, 2), dgate(9), dup(9), h(9), y(9);
  for (double& x : gate) x *= 3;
  const Vector dh = Numbers(9, 3);
  const auto loss = [&] {
    SiluMul(gate.data(), up.data(), 9, y.data());
    return Dot(y.data(), dh.data(), 9);
  };
  SiluMulGrad(gate.data(), up.data(), dh.data(), 9, dgate.data(), dup.data(), h.data());
  loss();
  EXPECT_EQ(h, y);
  ExpectGradient(gate, dgate, loss);
  ExpectGradient(up, dup, loss);
}

TEST(GradientReference, CrossEntropy) {
  Vector logits = Numbers(11, 1);
  for (double& x : logits) x *= 4;
  Vector gradient = logits;
  CrossEntropyGrad(gradient.data(), 11, 3, 0.5f);
  ExpectGradient(logits, gradient, [&] { return 0.5 * CrossEntropy(logits.data(), 11, 3); });
}

TEST(GradientReference, AttendLatent) {
  const LatentShape shape = {.heads = 3, .rc = 5, .dr = 2, .count = 6, .scale = 0.75f};
  Vector q = Numbers(3 * 7, 1), rows = Numbers(6 * 7, 2), o(3 * 5), dq(3 * 7), d_rows(6 * 7), p_sum(6);
  for (double& x : q) x *= 2;
  const Vector d_o = Numbers(3 * 5, 3);
  const auto row = [&](int64_t i) { return static_cast<const double*>(rows.data() + i * 7); };
  const auto loss = [&] {
    AttendLatent(shape, q.data(), row, o.data());
    return Dot(o.data(), d_o.data(), 3 * 5);
  };
  loss();
  AttendLatentGrad(
      shape, q.data(), o.data(), d_o.data(), row, dq.data(), [&](int64_t i) { return d_rows.data() + i * 7; },
      p_sum.data());
  ExpectGradient(q, dq, loss);
  ExpectGradient(rows, d_rows, loss);
  EXPECT_NEAR(Dot(p_sum.data(), Vector(6, 1.0).data(), 6), 1.0, 1e-12);
}

TEST(GradientReference, IndexKl) {
  const IndexShape shape = {.heads = 3, .dim = 4, .count = 6};
  Vector q = Numbers(3 * 4, 1), weights = Numbers(3, 5), keys = Numbers(6 * 4, 2), dq(3 * 4), dweights(3), dkeys(6 * 4);
  const Vector p = {0.3, 0.0, 0.1, 0.35, 0.05, 0.2};
  const auto key = [&](int64_t i) { return static_cast<const double*>(keys.data() + i * 4); };
  const auto loss = [&] { return 0.5 * IndexKl(shape, q.data(), weights.data(), key, p.data()); };
  IndexKlGrad(shape, q.data(), weights.data(), key, p.data(), 0.5f, dq.data(), dweights.data(),
              [&](int64_t i) { return dkeys.data() + i * 4; });
  ExpectGradient(q, dq, loss);
  ExpectGradient(weights, dweights, loss);
  ExpectGradient(keys, dkeys, loss);
  EXPECT_GT(loss(), 0);
}

// p equal to the softmax: no loss, nothing to learn.
TEST(GradientReference, IndexKlOfItself) {
  const IndexShape shape = {.heads = 2, .dim = 3, .count = 5};
  const Vector q = Numbers(2 * 3, 1), weights = Numbers(2, 2), keys = Numbers(5 * 3, 3);
  const auto key = [&](int64_t i) { return keys.data() + i * 3; };
  Vector p(5), dq(6), dweights(2), dkeys(15);
  for (int64_t i = 0; i < 5; ++i) p[static_cast<size_t>(i)] = IndexScore(shape, q.data(), weights.data(), key(i));
  const double total = LogSumExp(5, [&](int64_t i) { return p[static_cast<size_t>(i)]; });
  for (double& x : p) x = std::exp(x - total);
  EXPECT_NEAR(IndexKl(shape, q.data(), weights.data(), key, p.data()), 0, 1e-15);
  IndexKlGrad(shape, q.data(), weights.data(), key, p.data(), 1.0f, dq.data(), dweights.data(),
              [&](int64_t i) { return dkeys.data() + i * 3; });
  for (const Vector* gradient : {&dq, &dweights, &dkeys})
    for (const double g : *gradient) EXPECT_NEAR(g, 0, 1e-15);
}

}  // namespace
}  // namespace minke::plain
