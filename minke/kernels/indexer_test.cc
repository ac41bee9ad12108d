#include <algorithm>
#include <map>
#include <numeric>

#include "minke/kernels/kernels_testing.h"
#include "minke/kernels/pack_row.h"

namespace minke {
namespace {

// Rows on pages of their own, in shuffled order, each at an odd offset.
struct TestPages {
  std::vector<std::vector<float>> storage;
  std::vector<float*> pages;
  PagedRows rows;
};

TestPages MakePages(const std::vector<float>& values, int64_t width, int64_t page_tokens) {
  TestPages p;
  const int64_t count = width > 0 ? static_cast<int64_t>(values.size()) / width : 0;
  for (int64_t begin = 0; begin < count; begin += page_tokens) {
    auto& page = p.storage.emplace_back(static_cast<size_t>(3 + page_tokens * width));
    const int64_t n = std::min(page_tokens, count - begin);
    std::copy_n(values.begin() + begin * width, n * width, page.begin() + 3);
  }
  for (auto& page : p.storage) p.pages.push_back(page.data());
  p.rows = {.pages = p.pages.data(), .offset = 3, .width = width, .page_tokens = page_tokens};
  return p;
}

void CheckIndexScores(int64_t heads, int64_t dim, int64_t count, int64_t page_tokens, Kind kind, Random& random,
                      RowFormat format = RowFormat::kF32) {
  const std::vector<float> q = random.Floats(heads * dim, kind == Kind::kNaN ? Kind::kNormal : kind);
  const std::vector<float> weights = random.Floats(heads), keys = random.Floats(count * dim, kind);
  const int64_t width = RowFloats(format, dim, 0);
  std::vector<float> packed(static_cast<size_t>(count * width));
  for (int64_t s = 0; s < count; ++s)
    PackLatent(Reference(), format, keys.data() + s * dim, dim, 0, packed.data() + s * width);
  TestPages pages = MakePages(packed, width, page_tokens);
  pages.rows.format = format;
  // Spacing * (sqrt(dim) + sqrt(heads)) / 2 + 2 spacings of the sum of |w| sum |q k|: the same form as a dot product.
  const auto bound = [&](size_t s) {
    double sum = 0;
    for (int64_t j = 0; j < heads; ++j)
      for (int64_t d = 0; d < dim; ++d)
        sum += std::fabs(double{weights[j]} * q[j * dim + d] * keys[s * dim + d]) * 1.1;  // rounding may make it more
    const double steps = (std::sqrt(static_cast<double>(dim)) + std::sqrt(static_cast<double>(heads))) / 2 + 2;
    return kSpacing * steps * sum + kTiniest * static_cast<double>(heads * dim);
  };
  CompareSets(
      [&](const KernelSet& set) {
        std::vector<float> whole(static_cast<size_t>(count)), cut(whole.size());
        set.index_scores(q.data(), weights.data(), heads, dim, pages.rows, 0, count, whole.data());
        const int64_t middle = random.Below(count + 1);
        set.index_scores(q.data(), weights.data(), heads, dim, pages.rows, 0, middle, cut.data());
        set.index_scores(q.data(), weights.data(), heads, dim, pages.rows, middle, count, cut.data() + middle);
        ExpectSameBits(cut, whole);
        return whole;
      },
      bound);
}

TEST(IndexScores, AllSetsAgreeOnEveryShape) {
  Random random(1);
  for (int64_t i = 1; i <= 257; i += 4) {
    CheckIndexScores(1 + i % 70, i, 1 + i % 23, 8, Kind::kNormal, random);
    CheckIndexScores(i, 1 + i % 40, 9, 1, Kind::kNormal, random);
  }
  CheckIndexScores(64, 128, 450, 64, Kind::kNormal, random);
  CheckIndexScores(32, 128, 70, 64, Kind::kNormal, random);
  CheckIndexScores(130, 96, 400, 16, Kind::kNormal, random);
  CheckIndexScores(3, 700, 20, 16, Kind::kNormal, random);  // too long for a turned tile
}

// Four heads have several keys in a register, and the last keys not: where it is cut, the bits are the same.
TEST(IndexScores, AllSetsAgreeOnFourHeads) {
  Random random(3);
  for (int64_t dim : {1, 4, 20, 30, 32, 128, 512, 700})
    for (int64_t count : {1, 4, 15, 16, 17, 63, 200}) CheckIndexScores(4, dim, count, 16, Kind::kNormal, random);
  for (const Kind kind : kAllKinds) CheckIndexScores(4, 32, 50, 64, kind, random);
}

// Also zeros of what underflows, whose sign a sum of more lanes would change.
TEST(IndexScores, EqualKeysHaveTheSameBitsInEveryPlace) {
  const std::vector<float> q(16, 1e-30f), weights(4, -1e-30f);
  const TestPages pages =
      MakePages(std::vector<float>(20 * 4, 1.0f), 4, 64);  // of 20 keys the last are not in whole registers
  ForEachSet([&](const KernelSet& set) {
    float scores[20];
    set.index_scores(q.data(), weights.data(), 4, 4, pages.rows, 0, 20, scores);
    ExpectSameBits(std::vector<float>(scores, scores + 20), std::vector<float>(20, scores[0]));
  });
}

TEST(IndexScores, AllSetsAgreeOnRoundedKeys) {
  Random random(7);
  for (const RowFormat format : {RowFormat::kBF16, RowFormat::kFp8}) {
    for (int64_t i = 4; i <= 260; i += 32)
      CheckIndexScores(1 + i % 70, i, 1 + i % 23, 8, Kind::kNormal, random, format);
    CheckIndexScores(64, 128, 450, 64, Kind::kNormal, random, format);
    CheckIndexScores(17, 128, 30, 8, Kind::kNaN, random, format);
  }
}

TEST(IndexScores, AllSetsAgreeOnEveryKindOfNumber) {
  Random random(2);
  for (const Kind kind : kAllKinds) {
    CheckIndexScores(64, 128, 50, 64, kind, random);
    CheckIndexScores(5, 20, 50, 64, kind, random);
  }
}

// Padding lanes (heads not a multiple of 16) must not turn an infinite score into NaN.
TEST(IndexScores, InfiniteKeysStayInfinite) {
  const std::vector<float> q(5, 1.0f), weights(5, 1.0f);
  const TestPages pages = MakePages({1.0f, std::numeric_limits<float>::infinity()}, 1, 64);
  ForEachSet([&](const KernelSet& set) {
    float scores[2];
    set.index_scores(q.data(), weights.data(), 5, 1, pages.rows, 0, 2, scores);
    EXPECT_EQ(scores[0], 5.0f);
    EXPECT_EQ(scores[1], std::numeric_limits<float>::infinity());
  });
}

std::vector<int32_t> Sorted(const std::vector<float>& x, int64_t k) {  // the definition, by a full sort
  std::vector<int32_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    if (std::isnan(x[a]) || std::isnan(x[b])) return std::isnan(x[a]) == std::isnan(x[b]) ? a < b : std::isnan(x[b]);
    return x[a] == x[b] ? a < b : x[a] > x[b];
  });
  order.resize(static_cast<size_t>(std::clamp(k, int64_t{0}, static_cast<int64_t>(x.size()))));
  std::sort(order.begin(), order.end());
  return order;
}

void CheckTopK(const std::vector<float>& x, int64_t k) {
  const std::vector<int32_t> expected = Sorted(x, k);
  ForEachSet([&](const KernelSet& set) {
    std::vector<int32_t> selected(x.size() + 1, -7);
    const int64_t count = set.top_k(x.data(), static_cast<int64_t>(x.size()), k, selected.data());
    ASSERT_EQ(count, static_cast<int64_t>(expected.size()));
    EXPECT_EQ(selected[static_cast<size_t>(count)], -7) << "wrote past the end";
    selected.resize(static_cast<size_t>(count));
    ASSERT_EQ(selected, expected) << "n " << x.size() << " k " << k;
  });
}

TEST(TopK, EqualsAFullSort) {
  Random random(3);
  for (int64_t n = 0; n <= 257; ++n)
    for (const int64_t k : {int64_t{0}, int64_t{1}, n / 3, n - 1, n, n + 5}) CheckTopK(random.Floats(n), k);
  CheckTopK(random.Floats(20000), 2048);
}

TEST(TopK, TiesGoToTheLowerPositionAndZerosAreEqual) {
  Random random(4);
  for (int64_t n = 1; n <= 257; n += 5)
    for (int64_t k = 0; k <= n; k += 1 + n / 7) {
      std::vector<float> x(static_cast<size_t>(n));
      for (float& v : x) v = static_cast<float>(random.Below(3)) - 1.0f;
      for (float& v : x)
        if (v == 0.0f && random.Below(2)) v = -0.0f;
      CheckTopK(x, k);
      CheckTopK(std::vector<float>(static_cast<size_t>(n), 0.25f), k);
    }
}

TEST(TopK, NaNIsLowestAndInfinitiesAreNumbers) {
  Random random(5);
  const float special[] = {std::numeric_limits<float>::quiet_NaN(),
                           -std::numeric_limits<float>::quiet_NaN(),
                           std::numeric_limits<float>::infinity(),
                           -std::numeric_limits<float>::infinity(),
                           1e-42f,
                           -1e-42f,
                           std::numeric_limits<float>::max(),
                           -std::numeric_limits<float>::max()};
  for (int64_t n = 1; n <= 120; n += 7)
    for (int64_t k = 0; k <= n; ++k) {
      std::vector<float> x = random.Floats(n);
      for (float& v : x)
        if (random.Below(2)) v = special[random.Below(8)];
      CheckTopK(x, k);
      CheckTopK(std::vector<float>(static_cast<size_t>(n), special[0]), k);
      CheckTopK(std::vector<float>(static_cast<size_t>(n), special[3]), k);
    }
}

TEST(QuantizeI8, EveryLengthAndKind) {
  Random random(11);
  for (int64_t n = 1; n <= 257; ++n)
    for (const Kind kind : kAllKinds) {
      const std::vector<float> x = random.Floats(n, kind);
      std::vector<uint8_t> expected(static_cast<size_t>(n)), codes(expected.size());
      float expected_scale = 0, scale = 0;
      Reference().quantize_i8(x.data(), n, expected.data(), &expected_scale);
      ForEachSet([&](const KernelSet& set) {
        set.quantize_i8(x.data(), n, codes.data(), &scale);
        ASSERT_TRUE(SameBits(scale, expected_scale));
        if (std::isnan(scale)) return;
        // Without FMA the product is rounded before it is rounded to an integer.
        const int most = HasFma(set) || IsReference(set) ? 0 : 1;
        for (size_t i = 0; i < codes.size(); ++i) ASSERT_LE(std::abs(codes[i] - expected[i]), most) << n << " " << i;
      });
      if (testing::Test::HasFatalFailure()) return;
    }
}

void CheckIndexScoresI8(int64_t heads, int64_t dim, int64_t count, bool with_nan, Random& random) {
  SCOPED_TRACE(fmt::format("{} heads of {}, {} keys", heads, dim, count));
  std::vector<uint8_t> q(static_cast<size_t>(heads * dim));
  for (uint8_t& code : q) code = static_cast<uint8_t>(1 + random.Below(255));
  const int64_t width = dim / 4 + 1, pages = (count + 15) / 16;
  std::vector<float> rows(static_cast<size_t>(pages * 16 * width));
  auto* bytes = reinterpret_cast<uint8_t*>(rows.data());
  for (int64_t s = 0; s < count; ++s) {
    uint8_t* key = bytes + s * width * 4;
    for (int64_t d = 0; d < dim; ++d) key[d] = static_cast<uint8_t>(1 + random.Below(255));
    rows[static_cast<size_t>(s * width + dim / 4)] = static_cast<float>(random.Uniform());
  }
  if (with_nan) rows[static_cast<size_t>(count / 2 * width + dim / 4)] = std::numeric_limits<float>::quiet_NaN();
  std::vector<float*> table;
  for (int64_t p = 0; p < pages; ++p) table.push_back(rows.data() + p * 16 * width);
  const PagedRows keys = {.pages = table.data(), .offset = 0, .width = width, .page_tokens = 16};
  const std::vector<float> weights = random.Floats(heads);
  CompareSets(
      [&](const KernelSet& set) {
        std::vector<float> scores(static_cast<size_t>(count)), parts(scores.size());
        set.index_scores_i8(q.data(), weights.data(), heads, dim, keys, 0, count, scores.data());
        const int64_t middle = count / 3;
        set.index_scores_i8(q.data(), weights.data(), heads, dim, keys, 0, middle, parts.data());
        set.index_scores_i8(q.data(), weights.data(), heads, dim, keys, middle, count, parts.data() + middle);
        ExpectSameBits(parts, scores);
        return scores;
      },
      [&](size_t) {  // |dot| <= 128^2 dim, |weights| and scales below 1
        return kSpacing * (std::sqrt(static_cast<double>(heads)) / 2 + 3) * 16384.0 * static_cast<double>(dim * heads);
      });
}

TEST(IndexScoresI8, AllSetsAgree) {
  Random random(12);
  for (const bool with_nan : {false, true}) {
    CheckIndexScoresI8(64, 128, 300, with_nan, random);
    CheckIndexScoresI8(16, 128, 213, with_nan, random);
    CheckIndexScoresI8(3, 16, 9, with_nan, random);
    CheckIndexScoresI8(17, 100, 13, with_nan, random);
    CheckIndexScoresI8(130, 4, 30, with_nan, random);
    CheckIndexScoresI8(5, 2048, 7, with_nan, random);
  }
}

// What rounded keys cost the selection: the share of the exact top 2048 of 8192 that they keep, on Gaussian data, with
// queries and keys as the model prepares them. docs/performance.md has what this prints.
TEST(IndexKeys, KeepTheSelection) {
  Random random(13);
  const int64_t heads = 64, dim = 128, count = 8192, k = 2048;
  const auto gaussian = [&](int64_t n) {
    std::vector<float> x(static_cast<size_t>(n));
    for (float& v : x)
      v = static_cast<float>(std::sqrt(-2 * std::log(1 - random.Uniform())) * std::cos(6.2831853 * random.Uniform()));
    return x;
  };
  const std::vector<float> q = gaussian(heads * dim), weights = gaussian(heads), keys = gaussian(count * dim);
  const KernelSet& set = AllKernelSets().front().supported() ? AllKernelSets().front() : Reference();
  const auto select = [&](RowFormat format) {
    const int64_t width = RowFloats(format, dim, 0);
    std::vector<float> rows(static_cast<size_t>(count * width)), scores(static_cast<size_t>(count));
    std::vector<float> x = keys, query = q, query_weights = weights;
    for (int64_t s = 0; s < count; ++s) PackIndexKey(set, format, x.data() + s * dim, dim, rows.data() + s * width);
    std::vector<uint8_t> codes(q.size());
    for (int64_t j = 0; j < heads; ++j) {
      float* head = query.data() + j * dim;
      float scale = 1;
      if (RotatesIndex(format)) RotateIndex(set, head, dim);
      if (format == RowFormat::kInt8) set.quantize_i8(head, dim, codes.data() + j * dim, &scale);
      query_weights[static_cast<size_t>(j)] *= scale;
    }
    float* page = rows.data();
    const PagedRows cached = {&page, 0, width, count, format};
    if (format == RowFormat::kInt8) {
      set.index_scores_i8(codes.data(), query_weights.data(), heads, dim, cached, 0, count, scores.data());
    } else {
      set.index_scores(query.data(), query_weights.data(), heads, dim, cached, 0, count, scores.data());
    }
    std::vector<int32_t> selected(static_cast<size_t>(k));
    set.top_k(scores.data(), count, k, selected.data());
    return selected;
  };
  const std::vector<int32_t> exact = select(RowFormat::kF32);
  const std::map<std::string, std::pair<RowFormat, double>> least = {
      {"BF16", {RowFormat::kBF16, 0.995}}, {"FP8", {RowFormat::kFp8, 0.975}}, {"INT8", {RowFormat::kInt8, 0.99}}};
  for (const auto& [name, bound] : least) {
    std::vector<int32_t> both;
    std::ranges::set_intersection(exact, select(bound.first), std::back_inserter(both));
    const double recall = static_cast<double>(both.size()) / static_cast<double>(k);
    fmt::print("recall of {} keys: {:.2f} %\n", name, 100 * recall);
    EXPECT_GT(recall, bound.second) << name;
    EXPECT_LT(recall, 1.0) << name;
  }
}

TEST(Hadamard, AllSetsAgreeAndTwiceIsTheInput) {
  Random random(6);
  for (int64_t n = 1; n <= 512; n *= 2)
    for (const Kind kind : kAllKinds) {
      const std::vector<float> x = random.Floats(n, kind);
      CompareSets(
          [&](const KernelSet& set) {
            std::vector<float> y = x;
            set.hadamard(y.data(), n);
            return y;
          },
          [](size_t) { return 0.0; });
      if (kind != Kind::kNormal) continue;
      ForEachSet([&](const KernelSet& set) {
        std::vector<float> y = x;
        set.hadamard(y.data(), n);
        set.hadamard(y.data(), n);
        for (int64_t i = 0; i < n; ++i) EXPECT_NEAR(y[i], x[i], 2e-6);
      });
    }
}

TEST(QuantizeE4M3, AllSetsGiveTheSameCodesAndScales) {
  Random random(7);
  for (const int64_t n : {1, 5, 16, 100, 128, 256, 300})
    for (const Kind kind : kAllKinds)
      for (const bool ue8m0 : {false, true}) {
        std::vector<float> x = random.Floats(n, kind);
        if (n == 300) x[200] = std::numeric_limits<float>::infinity();
        CompareSets(
            [&](const KernelSet& set) {
              std::vector<uint8_t> codes(static_cast<size_t>(n));
              std::vector<float> out(static_cast<size_t>((n + 127) / 128));
              set.quantize_e4m3(x.data(), n, ue8m0, codes.data(), out.data());
              for (const uint8_t code : codes) out.push_back(code);
              return out;
            },
            [](size_t) { return 0.0; });
      }
}

void CheckIndexScoresE4M3(int64_t heads, int64_t dim, int64_t count, bool with_nan, Random& random) {
  std::vector<uint8_t> q(static_cast<size_t>(heads * dim)), keys(static_cast<size_t>(count * dim));
  for (auto* codes : {&q, &keys})
    for (uint8_t& c : *codes) c = static_cast<uint8_t>(random.Below(0x7F) | (random.Below(2) << 7));
  if (with_nan) keys[static_cast<size_t>(random.Below(count * dim))] = 0xFF;
  const std::vector<float> weights = random.Floats(heads), scales = random.Floats(count);
  CompareSets(
      [&](const KernelSet& set) {
        std::vector<float> scores(static_cast<size_t>(count));
        set.index_scores_e4m3(q.data(), weights.data(), heads, dim, keys.data(), scales.data(), count, scores.data());
        return scores;
      },
      [&](size_t s) {
        double sum = 0;
        for (int64_t j = 0; j < heads; ++j)
          for (int64_t d = 0; d < dim; ++d)
            sum += std::fabs(weights[j] * E4M3ToFloat(q[j * dim + d]) * E4M3ToFloat(keys[s * dim + d]));
        return std::fabs(scales[s]) * kSpacing * (std::sqrt(static_cast<double>(dim * heads)) / 2 + 3) * sum;
      });
}

TEST(IndexScoresE4M3, AllSetsAgree) {
  Random random(8);
  for (const bool with_nan : {false, true}) {
    CheckIndexScoresE4M3(64, 128, 40, with_nan, random);
    CheckIndexScoresE4M3(3, 16, 9, with_nan, random);
    CheckIndexScoresE4M3(17, 100, 13, with_nan, random);
    CheckIndexScoresE4M3(2, 600, 5, with_nan, random);  // too long for a turned tile
  }
}

}  // namespace
}  // namespace minke
