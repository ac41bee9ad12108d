#include "minke/kernels/kernels_testing.h"

namespace minke {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Bound in spacings of the expected value, plus some subnormal steps.
auto Spacings(double spacings, std::vector<float> expected, double steps = 2) {
  return [=](size_t i) { return kSpacing * spacings * std::fabs(double{expected[i]}) + steps * kTiniest; };
}

template <class Run>
void Compare(Run run, double spacings, double steps = 2) {
  CompareSets(run, Spacings(spacings, run(Reference()), steps));
}

TEST(Norms, AllSetsAgree) {
  Random random(1);
  for (int64_t n = 1; n <= 257; ++n)
    for (const Kind kind : kAllKinds) {
      const std::vector<float> x = random.Floats(n, kind), w = random.Floats(n), b = random.Floats(n);
      // The mean of squares has no cancellation: half a spacing for each of a few roundings.
      Compare(
          [&](const KernelSet& set) {
            std::vector<float> y = x;  // in place
            set.rms_norm(y.data(), w.data(), n, 1e-6f, y.data());
            return y;
          },
          8);
      // Here x - mean cancels: bounded by the largest |x| over the deviation, which is of the size of x.
      CompareSets(
          [&](const KernelSet& set) {
            std::vector<float> y(x.size());
            set.layer_norm(x.data(), w.data(), b.data(), n, 1e-6f, y.data());
            return y;
          },
          [&](size_t) { return n == 1  ? 1e-3
                               : n < 8 ? 1e-3
                                       : 64 * kSpacing; });
      if (testing::Test::HasFatalFailure()) return;
    }
  const std::vector<float> x = random.Floats(7168), w = random.Floats(7168);
  Compare(
      [&](const KernelSet& set) {
        std::vector<float> y(x.size());
        set.rms_norm(x.data(), w.data(), 7168, 1e-6f, y.data());
        return y;
      },
      8);
}

TEST(Rope, AllSetsAgree) {
  Random random(2);
  for (int64_t n = 2; n <= 256; n += 2)
    for (const Kind kind : kAllKinds) {
      const std::vector<float> x = random.Floats(n, kind), cos = random.Floats(n / 2), sin = random.Floats(n / 2);
      for (const bool half : {false, true})
        CompareSets(
            [&](const KernelSet& set) {
              std::vector<float> y = x;
              (half ? set.rope_half_split : set.rope_interleaved)(y.data(), cos.data(), sin.data(), n);
              return y;
            },
            [&](size_t) { return kind == Kind::kHuge ? 1e17 * 2 * kSpacing : 2 * kSpacing; });
    }
}

TEST(Elementwise, AllSetsAgreeOnEveryLength) {
  Random random(3);
  for (int64_t n = 1; n <= 257; ++n)
    for (const Kind kind : kAllKinds) {
      const std::vector<float> x = random.Floats(n, kind), y = random.Floats(n);
      Compare(
          [&](const KernelSet& set) {
            std::vector<float> z = x;
            set.silu_mul(z.data(), y.data(), n, z.data());
            return z;
          },
          5);
      Compare(
          [&](const KernelSet& set) {
            std::vector<float> z = x;
            set.sigmoid(z.data(), n);
            return z;
          },
          4);
      CompareSets(
          [&](const KernelSet& set) {
            std::vector<float> z = y;
            set.axpy(0.37f, x.data(), n, z.data());
            return z;
          },
          [&](size_t i) { return kSpacing * (std::fabs(0.37 * x[i]) + std::fabs(y[i])); });
      if (testing::Test::HasFatalFailure()) return;
    }
}

TEST(Elementwise, AxpyIsFused) {
  for (const KernelSet& set : AllKernelSets()) {
    if (!set.supported() || (!HasFma(set) && !IsReference(set))) continue;
    const float x = 1.0f + 0x1.0p-12f;
    float y = -1.0f - 0x1.0p-11f;
    set.axpy(x, &x, 1, &y);
    EXPECT_EQ(y, 0x1.0p-24f) << set.name;
  }
}

// Every exponent and many mantissas through sigmoid, and through softmax of (x, 0), which shows exp itself.
TEST(Elementwise, ExpIsGoodOverItsWholeRange) {
  std::vector<float> x;
  for (uint32_t bits = 0; bits < 0x7F800000u; bits += 0x1357u * 8) {
    x.push_back(std::bit_cast<float>(bits));
    x.push_back(-x.back());
  }
  for (const float edge : {88.7f, 88.8f, -87.3f, -87.4f, -103.9f, -104.1f, 104.0f, kInfinity, -kInfinity})
    x.push_back(edge);
  ForEachSet([&](const KernelSet& set) {
    std::vector<float> y = x;
    set.sigmoid(y.data(), static_cast<int64_t>(y.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = 1 / (1 + std::exp(-double{x[i]}));
      // Below -88.7 exp(-x) overflows and the result, under 3e-39, becomes 0.
      ASSERT_LE(std::fabs(y[i] - expected), expected * 3 * kSpacing + (x[i] < -88.7f ? 3e-39 : kTiniest)) << x[i];
    }
    for (size_t i = 0; i < x.size(); ++i) {
      if (!(x[i] <= 0)) continue;
      float pair[2] = {x[i], 0.0f};
      set.softmax(pair, 2);
      const double e = std::exp(double{x[i]}), expected = e / (1 + e);
      ASSERT_LE(std::fabs(pair[0] - expected), expected * 3 * kSpacing + kTiniest) << x[i];
    }
  });
}

TEST(Softmax, AllSetsAgree) {
  Random random(4);
  for (int64_t n = 1; n <= 257; ++n)
    for (const Kind kind : kAllKinds) {
      std::vector<float> x = random.Floats(n, kind);
      for (float& v : x) v *= kind == Kind::kHuge ? 1e-15f : 20.0f;
      const auto run = [&](const KernelSet& set) {
        std::vector<float> y = x;
        set.softmax(y.data(), n);
        y.push_back(set.log_sum_exp(x.data(), n));
        return y;
      };
      const std::vector<float> expected = run(Reference());
      const float largest = x[static_cast<size_t>(Reference().argmax(x.data(), n))];
      // The distance d to the maximum is rounded: d / 2 spacings; 6 for exp, sum and division.
      CompareSets(run, [&](size_t i) {
        const double distance = i < x.size() ? double{largest} - x[i] : 0;
        return kSpacing * (6 + distance / 2) * std::fabs(double{expected[i]}) + 2 * kTiniest;
      });
      if (testing::Test::HasFatalFailure()) return;
    }
}

TEST(LogSumExp, HandlesEmptyAndInfiniteRows) {
  ForEachSet([&](const KernelSet& set) {
    const float lowest[3] = {-kInfinity, -kInfinity, -kInfinity};
    EXPECT_EQ(set.log_sum_exp(lowest, 0), -kInfinity);
    EXPECT_EQ(set.log_sum_exp(lowest, 3), -kInfinity);
    const float one[2] = {-kInfinity, 3.0f};
    EXPECT_EQ(set.log_sum_exp(one, 2), 3.0f);
    const float nan[2] = {std::numeric_limits<float>::quiet_NaN(), -kInfinity};
    EXPECT_TRUE(std::isnan(set.log_sum_exp(nan, 2)));
    std::vector<float> even(100000, 1.5f);
    EXPECT_NEAR(set.log_sum_exp(even.data(), 100000), 1.5 + std::log(100000.0), 4e-6);
  });
}

TEST(ArgMax, LowestIndexOnTiesAndNaNNeverWins) {
  Random random(5);
  for (int64_t n = 1; n <= 257; ++n)
    for (int round = 0; round < 4; ++round) {
      std::vector<float> x(static_cast<size_t>(n));
      for (float& v : x) v = static_cast<float>(random.Below(5)) - 3.0f;
      if (round % 2 == 1)
        for (float& v : x)
          if (random.Below(3) == 0) v = round == 1 ? std::numeric_limits<float>::quiet_NaN() : -kInfinity;
      int64_t expected = -1;
      for (int64_t i = 0; i < n; ++i)
        if (!std::isnan(x[i]) && (expected < 0 || x[i] > x[expected])) expected = i;
      ForEachSet([&](const KernelSet& set) { ASSERT_EQ(set.argmax(x.data(), n), std::max(expected, int64_t{0})); });
    }
}

// Every float is updated in every round: the peak counts 2 * kPeakFloats * rounds.
TEST(PeakF32, AllSetsComputeAllOfIt) {
  Random random(11);
  const std::vector<float> x = random.Floats(kPeakFloats);
  for (const int64_t rounds : {0, 1, 3})
    CompareSets(
        [&](const KernelSet& set) {
          std::vector<float> y = x;
          set.peak_f32(y.data(), rounds, 0.75f, 0.5f);
          return y;
        },
        [](size_t) { return 8 * kSpacing; });  // nothing exceeds 2
}

TEST(PeakI8, AllSetsComputeAllOfIt) {
  std::vector<int32_t> start(kPeakFloats);
  for (size_t i = 0; i < start.size(); ++i) start[i] = static_cast<int32_t>(i * 2654435761u >> 12) - (1 << 19);
  for (const int64_t rounds : {0, 1, 3}) {
    std::vector<int32_t> expected = start;
    Reference().peak_i8(expected.data(), rounds, 0x3F020105);
    for (const KernelSet& set : AllKernelSets()) {
      if (!set.supported()) continue;
      std::vector<int32_t> got = start;
      set.peak_i8(got.data(), rounds, 0x3F020105);
      EXPECT_EQ(got, expected) << set.name << ", rounds " << rounds;
    }
  }
}

TEST(PeakRead, AllSetsReadAllOfIt) {
  Random random(12);
  for (int64_t n = 0; n <= 257; ++n) {
    const std::vector<float> x = random.Floats(n);
    CompareSets([&](const KernelSet& set) { return std::vector<float>{set.peak_read(x.data(), n)}; },
                [&](size_t) { return static_cast<double>(n) * kSpacing; });
  }
}

}  // namespace
}  // namespace minke
