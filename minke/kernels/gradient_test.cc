// The backward entries on all kernel sets: against the reference within computed bounds, and the promises that their
// contracts make about splits, aliases and bits of the forward pass. (gradient_reference_test.cc checks the reference.)
#include <algorithm>

#include "minke/kernels/kernels_testing.h"

namespace minke {
namespace {

// The sum of n products and what was there, by one chain of fused multiply-adds: spacing * sqrt(n) / 2 + 2 spacings of
// the sum of their magnitudes.
double ChainBound(double magnitudes, int64_t n) {
  return kSpacing * (std::sqrt(static_cast<double>(n)) / 2 + 2) * magnitudes + kTiniest * static_cast<double>(n + 1);
}

std::vector<float> Joined(std::initializer_list<std::vector<float>> parts) {
  std::vector<float> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

// ---- products -----------------------------------------------------------------------------------------

void CheckGradWeight(int64_t rows, int64_t cols, int64_t n, Kind kind, Random& random) {
  SCOPED_TRACE(fmt::format("grad weight: rows {} cols {} n {} kind {}", rows, cols, n, static_cast<int>(kind)));
  const int64_t dy_stride = n + 2, x_stride = cols + 3, dw_stride = cols + 1;
  const std::vector<float> dy = random.Floats(rows * dy_stride, kind), x = random.Floats(rows * x_stride, kind),
                           before = random.Floats(n * dw_stride);
  CompareSets(
      [&](const KernelSet& set) {
        std::vector<float> whole = before, cut = before;
        set.matmul_grad_weight(dy.data(), dy_stride, x.data(), x_stride, rows, cols, 0, n, whole.data(), dw_stride);
        if (IsReference(set)) return whole;  // it rounds where rows are cut
        const int64_t t = random.Below(rows + 1), middle = random.Below(n + 1);
        for (const auto& [begin, end] : {std::pair{int64_t{0}, t}, {t, rows}})
          for (const auto& [n_begin, n_end] : {std::pair{int64_t{0}, middle}, {middle, n}})
            set.matmul_grad_weight(dy.data() + begin * dy_stride, dy_stride, x.data() + begin * x_stride, x_stride,
                                   end - begin, cols, n_begin, n_end, cut.data(), dw_stride);
        ExpectSameBits(cut, whole);
        return whole;
      },
      [&](size_t i) {
        const int64_t row = static_cast<int64_t>(i) / dw_stride, c = static_cast<int64_t>(i) % dw_stride;
        if (c == cols) return 0.0;  // between the rows
        double sum = std::fabs(before[i]);
        for (int64_t t = 0; t < rows; ++t) sum += std::fabs(double{dy[t * dy_stride + row]} * x[t * x_stride + c]);
        return ChainBound(sum, rows);
      });
}

void CheckGradInput(DType dtype, int64_t rows, int64_t cols, int64_t n, Kind kind, Random& random) {
  SCOPED_TRACE(fmt::format("grad input: rows {} cols {} n {} kind {}", rows, cols, n, static_cast<int>(kind)));
  const int64_t dy_stride = n + 2, dx_stride = cols + 1;
  const TestWeights w = MakeWeights(dtype, n, cols, random, kind);
  const std::vector<float> dy = random.Floats(rows * dy_stride, kind), before = random.Floats(rows * dx_stride);
  std::vector<float> decoded(static_cast<size_t>(n * cols));
  for (int64_t r = 0; r < n; ++r) Reference().dequantize_row(w.view, r, decoded.data() + r * cols);
  CompareSets(
      [&](const KernelSet& set) {
        std::vector<float> whole = before, cut = before;
        set.matmul_grad_input(dy.data(), dy_stride, rows, w.view, 0, cols, whole.data(), dx_stride);
        const int64_t t = random.Below(rows + 1), middle = random.Below(cols + 1);
        for (const auto& [begin, end] : {std::pair{int64_t{0}, t}, {t, rows}})
          for (const auto& [c_begin, c_end] : {std::pair{int64_t{0}, middle}, {middle, cols}})
            set.matmul_grad_input(dy.data() + begin * dy_stride, dy_stride, end - begin, w.view, c_begin, c_end,
                                  cut.data() + begin * dx_stride + c_begin, dx_stride);
        ExpectSameBits(cut, whole);
        return whole;
      },
      [&](size_t i) {
        const int64_t t = static_cast<int64_t>(i) / dx_stride, c = static_cast<int64_t>(i) % dx_stride;
        if (c == cols) return 0.0;
        double sum = std::fabs(before[i]);
        for (int64_t r = 0; r < n; ++r) sum += std::fabs(double{dy[t * dy_stride + r]} * decoded[r * cols + c]);
        return ChainBound(sum, n);
      });
}

TEST(MatMulGrad, AllSetsAgreeOnEveryShape) {
  Random random(1);
  for (int64_t i = 1; i <= 100; i += 3) {
    CheckGradWeight(1 + i % 40, i, 1 + i % 13, Kind::kNormal, random);
    CheckGradWeight(i, 1 + i % 37, 1 + i % 7, Kind::kNormal, random);
    CheckGradInput(i % 2 == 0 ? DType::kBF16 : DType::kF32, 1 + i % 13, i, 1 + i % 40, Kind::kNormal, random);
    CheckGradInput(DType::kF32, 1 + i % 7, 1 + i % 37, i, Kind::kNormal, random);
    if (testing::Test::HasFatalFailure()) return;
  }
  CheckGradWeight(700, 70, 9, Kind::kNormal, random);  // deeper than a panel of any set
  CheckGradInput(DType::kF32, 9, 70, 700, Kind::kNormal, random);
  CheckGradInput(DType::kBF16, 9, 70, 700, Kind::kNormal, random);
}

TEST(MatMulGrad, AllSetsAgreeOnEveryKindOfNumber) {
  Random random(2);
  for (const Kind kind : kAllKinds) {
    CheckGradWeight(20, 83, 11, kind, random);
    CheckGradInput(DType::kF32, 11, 83, 20, kind, random);
  }
}

// ---- norms --------------------------------------------------------------------------------------------

// Both norms at once. Errors count in parts of what a term may be: r max|u| (1 + max x^^2), x^ the normed x. A normed
// number is off by the rounding of x - mean, which its deviation magnifies, and so is all that is made of it.
void CheckNorms(int64_t n, Kind kind, Random& random) {
  SCOPED_TRACE(fmt::format("n {} kind {}", n, static_cast<int>(kind)));
  const std::vector<float> x = random.Floats(n, kind), weight = random.Floats(n), dy = random.Floats(n),
                           before = random.Floats(n);
  double mean = 0, squares = 0, largest = 0, normed = 0;
  for (const float v : x) mean += v / static_cast<double>(n), largest = std::max(largest, std::fabs(double{v}));
  for (const float v : x) squares += (v - mean) * (v - mean) / static_cast<double>(n);
  const double r = 1 / std::sqrt(squares + 1e-6);
  for (const float v : x) normed = std::max(normed, std::fabs(v - mean) * r);
  const double steps = std::sqrt(static_cast<double>(n)) / 2 + 8;
  const double rounding = kSpacing * (steps + 8 * largest * r * (1 + normed));
  // Of the RMS norm the same without the mean, whose r is the smaller.
  CompareSets(
      [&](const KernelSet& set) {
        std::vector<float> dx = before, dweight = before, dbias = before;
        set.layer_norm_grad(x.data(), weight.data(), dy.data(), n, 1e-6f, dx.data(), dweight.data(), dbias.data());
        return Joined({dx, dweight, dbias});
      },
      [&](size_t) { return rounding * (r + 1) * (1 + normed * normed) + kSpacing; });
  CompareSets(
      [&](const KernelSet& set) {
        std::vector<float> dx = before, dweight = before;
        set.rms_norm_grad(x.data(), weight.data(), dy.data(), n, 1e-6f, dx.data(), dweight.data());
        return Joined({dx, dweight});
      },
      [&](size_t) { return kSpacing * steps * (r + 1) * (1 + normed * normed) + kSpacing; });
}

TEST(NormGrad, AllSetsAgree) {
  Random random(3);
  for (int64_t n = 1; n <= 100; ++n) CheckNorms(n, Kind::kNormal, random);
  for (const Kind kind : {Kind::kDenormal, Kind::kNaN})
    for (const int64_t n : {5, 33}) CheckNorms(n, kind, random);
  CheckNorms(1024, Kind::kNormal, random);
}

// ---- elementwise ----------------------------------------------------------------------------------------

TEST(SiluMulGrad, AllSetsAgreeAndInPlaceToo) {
  Random random(4);
  for (int64_t n = 1; n <= 70; ++n)
    for (const Kind kind : {Kind::kNormal, Kind::kDenormal, Kind::kNaN}) {
      std::vector<float> gate = random.Floats(n, kind);
      const std::vector<float> up = random.Floats(n), dh = random.Floats(n);
      for (float& x : gate) x *= 20;
      CompareSets(
          [&](const KernelSet& set) {
            std::vector<float> dgate(gate.size()), dup(gate.size()), h(gate.size()), forward(gate.size());
            set.silu_mul_grad(gate.data(), up.data(), dh.data(), n, dgate.data(), dup.data(), h.data());
            set.silu_mul(gate.data(), up.data(), n, forward.data());
            ExpectSameBits(h, forward);
            std::vector<float> a = gate, b = up, d = dh;
            set.silu_mul_grad(a.data(), b.data(), d.data(), n, a.data(), b.data(), d.data());
            ExpectSameBits(Joined({a, b, d}), Joined({dgate, dup, h}));
            return Joined({dgate, dup, h});
          },
          // 1 + gate (1 - s) may cancel; sigmoid is off by 2.4 spacings.
          [&](size_t i) {
            const double a = std::fabs(gate[i % gate.size()]), s = 1 / (1 + std::exp(-double{gate[i % gate.size()]}));
            return kSpacing * 8 * s * (1 + a) + kTiniest;
          });
      if (testing::Test::HasFatalFailure()) return;
    }
}

TEST(CrossEntropyGrad, AllSetsAgreeAndGiveTheBitsOfTheirLogSumExp) {
  Random random(5);
  for (const int64_t n : {1, 2, 3, 15, 16, 17, 33, 100, 257, 1000})
    for (const Kind kind : {Kind::kNormal, Kind::kNaN}) {
      SCOPED_TRACE(n);
      std::vector<float> logits = random.Floats(n, kind);
      for (float& x : logits) x *= 20;
      if (n > 3)
        logits[static_cast<size_t>(n / 2)] = -std::numeric_limits<float>::infinity();  // not in a sampling mask
      const int64_t target = n - 1;
      CompareSets(
          [&](const KernelSet& set) {
            std::vector<float> gradient = logits;
            const float result = set.cross_entropy_grad(gradient.data(), n, target, 0.25f);
            EXPECT_TRUE(SameBits(result, logits[static_cast<size_t>(target)] - set.log_sum_exp(logits.data(), n)));
            return gradient;
          },
          // The exponent, at most 40, is rounded; so are exp, the sum and the division; p - 1 once more.
          [&](size_t) { return kSpacing * (20 + 8) * 0.25; });
      if (testing::Test::HasFatalFailure()) return;
    }
}

// ---- optimiser ------------------------------------------------------------------------------------------

TEST(AdamW, AllSetsAgree) {
  Random random(6);
  const AdamWStep step = {.lr = 0.01f,
                          .beta1 = 0.9f,
                          .beta2 = 0.95f,
                          .eps = 1e-8f,
                          .decay = 0.1f,
                          .c1 = 0.271f,
                          .c2 = 0.142625f,
                          .grad_scale = 0.5f};
  for (int64_t n = 1; n <= 70; ++n) {
    const std::vector<float> p = random.Floats(n), m = random.Floats(n), g = random.Floats(n);
    std::vector<float> v = random.Floats(n);
    for (float& x : v) x *= x;
    const auto size = static_cast<size_t>(n);
    CompareSets(
        [&](const KernelSet& set) {
          std::vector<float> new_p = p, new_m = m, new_v = v;
          set.adamw(new_p.data(), g.data(), new_m.data(), new_v.data(), n, step);
          return Joined({new_p, new_m, new_v});
        },
        [&](size_t i) {
          const double new_v = step.beta2 * double{v[i % size]} + 0.05 * 0.25 * g[i % size] * g[i % size];
          if (i >= 2 * size) return 4 * kSpacing * new_v + kTiniest;
          const double m_terms = 0.9 * std::fabs(m[i % size]) + 0.05 * std::fabs(g[i % size]);
          if (i >= size) return 4 * kSpacing * m_terms + kTiniest;
          const double update = m_terms / step.c1 / (std::sqrt(new_v / step.c2) + step.eps);
          return kSpacing * (step.lr * (16 * update + 1) + 1);
        });
    if (testing::Test::HasFatalFailure()) return;
  }
}

// One step by hand: from zero moments the bias-corrected step is lr against the sign of g, and decay goes by p alone.
TEST(AdamW, FirstStepIsTheLearningRate) {
  const AdamWStep step = {
      .lr = 0.5f, .beta1 = 0.9f, .beta2 = 0.75f, .eps = 0, .decay = 0.25f, .c1 = 0.1f, .c2 = 0.25f, .grad_scale = 2};
  ForEachSet([&](const KernelSet& set) {
    float p[2] = {1, 1}, m[2] = {}, v[2] = {};
    const float g[2] = {3, -0.125f};
    set.adamw(p, g, m, v, 2, step);
    EXPECT_NEAR(p[0], 1 - 0.5 * (1 + 0.25), 1e-6);
    EXPECT_NEAR(p[1], 1 - 0.5 * (-1 + 0.25), 1e-6);
  });
}

TEST(SumSquares, IsExactToDoubleAndOneOrder) {
  Random random(7);
  for (int64_t n = 0; n <= 1000; n += n < 70 ? 1 : 93) {
    const std::vector<float> x = random.Floats(n, n % 2 == 0 ? Kind::kNormal : Kind::kHuge);
    const double expected = Reference().sum_squares(x.data(), n);
    std::vector<double> seen;
    ForEachSet([&](const KernelSet& set) {
      const double got = set.sum_squares(x.data(), n);
      EXPECT_NEAR(got, expected, expected * 1e-16 * static_cast<double>(n + 1));
      if (IsReference(set)) return;
      seen.push_back(got);
      EXPECT_EQ(got, seen[0]) << set.name;  // without FMA too: a square of a float is exact
    });
  }
  ForEachSet([&](const KernelSet& set) {
    std::vector<float> x(40, 1.0f);
    x[33] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(set.sum_squares(x.data(), 40)));
  });
}

// ---- attention and indexer --------------------------------------------------------------------------------

// Rows of `width` on pages of 8, backwards, with `positions` among them: every one, or about one in three.
struct Paged {
  std::vector<float> values;
  std::vector<float*> pages;
  PagedRows rows;
  std::vector<int32_t> positions;
  int64_t total;

  Paged(int64_t width, int64_t count, bool gathered, Kind kind, Random& random) {
    total = ((gathered ? 3 * count : count) + 7) / 8 * 8;
    values = random.Floats(total * width, kind);
    for (int64_t p = total / 8; p-- > 0;) pages.push_back(values.data() + p * 8 * width);
    rows = {.pages = pages.data(), .offset = 0, .width = width, .page_tokens = 8};
    for (int32_t i = 0; static_cast<int64_t>(positions.size()) < count; ++i)
      if (!gathered || total - i == count - static_cast<int64_t>(positions.size()) || random.Below(3) == 0)
        positions.push_back(i);
  }
};

struct LatentCase {
  int64_t heads, rc, dr, count;
  bool gathered;
  Kind kind = Kind::kNormal;
};

void CheckAttendLatentGrad(const LatentCase& c, Random& random) {
  SCOPED_TRACE(
      fmt::format("heads {} rc {} dr {} count {} kind {}", c.heads, c.rc, c.dr, c.count, static_cast<int>(c.kind)));
  const int64_t width = c.rc + c.dr;
  const Paged paged(width, c.count, c.gathered, c.kind, random);
  const int32_t* positions = c.gathered ? paged.positions.data() : nullptr;
  const std::vector<float> q = random.Floats(c.heads * width), d_o = random.Floats(c.heads * c.rc),
                           before = random.Floats(paged.total * width);
  const float scale = 1.0f / std::sqrt(static_cast<float>(width));
  std::vector<float> o(static_cast<size_t>(c.heads * c.rc)),
      scratch(static_cast<size_t>(AttendLatentScratch(RowFormat::kF32, c.heads, c.rc, c.dr)));
  Reference().attend_latent(q.data(), c.heads, c.rc, c.dr, paged.rows, positions, c.count, scale, o.data(),
                            scratch.data());
  std::vector<float> mean_p;
  const auto run = [&](const KernelSet& set) {
    std::vector<float> dq(static_cast<size_t>(c.heads * width), -1.0f), d_rows = before,
                                                                        p_sum(static_cast<size_t>(c.count), -1.0f);
    std::vector<float> room(static_cast<size_t>(AttendLatentGradScratch(c.heads, c.rc, c.dr, c.count)),
                            std::numeric_limits<float>::quiet_NaN());
    set.attend_latent_grad(q.data(), o.data(), d_o.data(), c.heads, c.rc, c.dr, paged.rows, positions, c.count, scale,
                           dq.data(), d_rows.data(), p_sum.data(), room.data());
    std::vector<float> alone(p_sum.size());
    set.attend_latent_grad(q.data(), nullptr, nullptr, c.heads, c.rc, c.dr, paged.rows, positions, c.count, scale,
                           nullptr, nullptr, alone.data(), room.data());
    ExpectSameBits(alone, p_sum);
    if (mean_p.empty()) mean_p = p_sum;  // of the reference
    return Joined({p_sum, dq, d_rows});
  };
  // A probability is off by 64 spacings of itself (attention_test.cc); |do . c| and |do . o| are below the sum of |do|.
  double largest_do = 0;
  for (int64_t h = 0; h < c.heads; ++h) {
    double sum = 0;
    for (int64_t i = 0; i < c.rc; ++i) sum += std::fabs(d_o[static_cast<size_t>(h * c.rc + i)]);
    largest_do = std::max(largest_do, sum);
  }
  const auto count = static_cast<size_t>(c.count), dq_size = static_cast<size_t>(c.heads * width);
  CompareSets(run, [&](size_t i) {
    if (i < count) return 64 * kSpacing * mean_p[i] + kTiniest;
    const double ds = 192 * kSpacing * scale * largest_do;  // over P
    if (i < count + dq_size) return ds;
    const size_t position = (i - count - dq_size) / static_cast<size_t>(width);
    const auto at = std::find(paged.positions.begin(), paged.positions.end(), static_cast<int32_t>(position));
    if (at == paged.positions.end()) return 0.0;
    const double p = static_cast<double>(c.heads) * mean_p[static_cast<size_t>(at - paged.positions.begin())];
    return p * (ds + 64 * kSpacing) + kSpacing * std::sqrt(static_cast<double>(c.heads)) + kSpacing;
  });
}

TEST(AttendLatentGrad, AllSetsAgreeOnEveryShape) {
  Random random(8);
  for (int64_t i = 1; i <= 100; i += 4) {
    CheckAttendLatentGrad({1 + i % 9, i, 2 * (i % 20), 1 + i % 30, i % 8 == 1}, random);
    CheckAttendLatentGrad({1 + i % 7, 1 + i % 40, 4, i, i % 8 == 5}, random);
    if (testing::Test::HasFatalFailure()) return;
  }
  CheckAttendLatentGrad({16, 64, 16, 150, true}, random);
  CheckAttendLatentGrad({4, 48, 16, 128, false}, random);
  for (const Kind kind : {Kind::kDenormal, Kind::kNaN}) CheckAttendLatentGrad({5, 40, 8, 70, true, kind}, random);
}

TEST(AttendLatentGrad, NothingSelectedGivesZeros) {
  Random random(9);
  const Paged paged(24, 8, false, Kind::kNormal, random);
  const std::vector<float> q = random.Floats(2 * 24), o(32), d_o = random.Floats(32);
  ForEachSet([&](const KernelSet& set) {
    std::vector<float> dq(48, 5.0f), scratch(static_cast<size_t>(AttendLatentGradScratch(2, 16, 8, 0)));
    set.attend_latent_grad(q.data(), o.data(), d_o.data(), 2, 16, 8, paged.rows, nullptr, 0, 1.0f, dq.data(), nullptr,
                           nullptr, scratch.data());
    EXPECT_EQ(dq, std::vector<float>(48, 0.0f));
  });
}

void CheckIndexKlGrad(int64_t heads, int64_t dim, int64_t count, bool gathered, Kind kind, Random& random) {
  SCOPED_TRACE(fmt::format("heads {} dim {} count {} kind {}", heads, dim, count, static_cast<int>(kind)));
  const Paged paged(dim, count, gathered, kind, random);
  const int32_t* positions = gathered ? paged.positions.data() : nullptr;
  const std::vector<float> q = random.Floats(heads * dim), weights = random.Floats(heads),
                           before = random.Floats(paged.total * dim);
  std::vector<float> p(static_cast<size_t>(count));
  double sum_p = 0;
  for (float& x : p) sum_p += x = random.Below(4) == 0 ? 0.0f : static_cast<float>(random.Uniform());
  for (float& x : p) x = sum_p > 0 ? static_cast<float>(x / sum_p) : 1.0f / static_cast<float>(count);
  constexpr float kWeight = 0.75f;
  // Of a score (indexer_test.cc), the largest over the keys; and that of a dot product.
  double score = 0, dot = 0;
  for (const int32_t s : paged.positions) {
    double sum = 0;
    for (int64_t j = 0; j < heads; ++j) {
      double terms = 0;
      for (int64_t d = 0; d < dim; ++d) terms += std::fabs(double{q[j * dim + d]} * paged.rows.row(s)[d]);
      sum += std::fabs(weights[static_cast<size_t>(j)]) * terms;
      dot = std::max(dot, terms);
    }
    score = std::max(score, sum);
  }
  const double steps = (std::sqrt(static_cast<double>(dim)) + std::sqrt(static_cast<double>(heads))) / 2 + 2;
  const double score_error = kSpacing * steps * (score + 1);
  // dI is off by so much of softmax + p, which together add up to 2.
  const double relative = 2 * score_error + kSpacing * (32 + std::log(static_cast<double>(count)));
  CompareSets(
      [&](const KernelSet& set) {
        std::vector<float> dq(static_cast<size_t>(heads * dim), -1.0f), dweights(static_cast<size_t>(heads), -1.0f),
            dkeys = before;
        std::vector<float> scratch(static_cast<size_t>(IndexGradScratch(heads, dim, count)),
                                   std::numeric_limits<float>::quiet_NaN());
        const float loss =
            set.index_kl_grad(q.data(), weights.data(), heads, dim, paged.rows, positions, count, p.data(), kWeight,
                              dq.data(), dweights.data(), dkeys.data(), scratch.data());
        return Joined({{loss}, dweights, dq, dkeys});
      },
      [&](size_t i) {
        if (i == 0) return 2 * score_error + kSpacing * 8 * (score + std::log(static_cast<double>(count)) + 16);
        if (i <= static_cast<size_t>(heads)) return 2 * (relative + kSpacing * steps) * (dot + 1);
        return 2 * relative + 2 * kSpacing * steps;
      });
}

TEST(IndexKlGrad, AllSetsAgreeOnEveryShape) {
  Random random(10);
  for (int64_t i = 1; i <= 100; i += 3) {
    CheckIndexKlGrad(1 + i % 37, i, 1 + i % 23, i % 2 == 1, Kind::kNormal, random);
    CheckIndexKlGrad(1 + i % 6, 1 + i % 40, i, i % 2 == 0, Kind::kNormal, random);
    if (testing::Test::HasFatalFailure()) return;
  }
  CheckIndexKlGrad(4, 32, 300, true, Kind::kNormal, random);
  CheckIndexKlGrad(64, 128, 70, false, Kind::kNormal, random);
  for (const Kind kind : {Kind::kDenormal, Kind::kNaN}) CheckIndexKlGrad(5, 20, 40, true, kind, random);
}

// With p = softmax(index_scores) the loss is that of rounding alone; with another p it is the KL of the forward's
// scores.
TEST(IndexKlGrad, ScoresAreThoseOfTheForwardPass) {
  Random random(11);
  const Paged paged(32, 64, false, Kind::kNormal, random);
  const std::vector<float> q = random.Floats(4 * 32), weights = random.Floats(4);
  ForEachSet([&](const KernelSet& set) {
    std::vector<float> scores(64), dq(4 * 32), dweights(4), dkeys(64 * 32),
        scratch(static_cast<size_t>(IndexGradScratch(4, 32, 64)));
    set.index_scores(q.data(), weights.data(), 4, 32, paged.rows, 0, 64, scores.data());
    const float total = set.log_sum_exp(scores.data(), 64);
    std::vector<float> p(64, 0.0f);
    p[5] = 1.0f;
    float loss = set.index_kl_grad(q.data(), weights.data(), 4, 32, paged.rows, nullptr, 64, p.data(), 1.0f, dq.data(),
                                   dweights.data(), dkeys.data(), scratch.data());
    if (!IsReference(set)) {
      EXPECT_EQ(loss, -scores[5] + total);
    }
    set.softmax(scores.data(), 64);
    loss = set.index_kl_grad(q.data(), weights.data(), 4, 32, paged.rows, nullptr, 64, scores.data(), 1.0f, dq.data(),
                             dweights.data(), dkeys.data(), scratch.data());
    EXPECT_NEAR(loss, 0, 1e-6);
    for (const float d : dweights) EXPECT_NEAR(d, 0, 1e-5);
  });
}

}  // namespace
}  // namespace minke
