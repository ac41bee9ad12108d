#include <algorithm>
#include <utility>

#include "minke/kernels/kernels_testing.h"

namespace minke {
namespace {

constexpr DType kFormats[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3};

// Bound of a dot product of n products: spacing * sqrt(n) / 2 + 2 spacings of the sum of |products|, and for each a
// subnormal step of x * scale times the largest code. (The worst case is n / 16 + 5 half spacings; rounding errors are
// not all of one sign.)
double DotBound(double absolute_sum, int64_t n) {
  return kSpacing * (std::sqrt(static_cast<double>(n)) / 2 + 2) * absolute_sum +
         kTiniest * 448 * static_cast<double>(n);
}

void CheckMatMul(const TestWeights& w, const std::vector<float>& x, int64_t rows, int64_t x_stride) {
  const int64_t n = w.view.rows, k = w.view.cols;
  std::vector<float> decoded(static_cast<size_t>(k)), sums(static_cast<size_t>(rows * n));
  for (int64_t j = 0; j < n; ++j) {
    Reference().dequantize_row(w.view, j, decoded.data());
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t c = 0; c < k; ++c) sums[m * n + j] += std::fabs(x[m * x_stride + c] * decoded[c]);
  }
  CompareSets(
      [&](const KernelSet& set) {
        std::vector<float> y(static_cast<size_t>(rows * n), -1.0f);
        set.matmul(x.data(), x_stride, rows, w.view, 0, n, y.data(), n);
        return y;
      },
      [&](size_t i) { return DotBound(sums[i], k); });
}

TEST(MatMul, EveryLengthTo257InEveryFormat) {
  Random random(1);
  for (const DType dtype : kFormats)
    for (int64_t k = 1; k <= 257; ++k) {
      SCOPED_TRACE(fmt::format("{} k {}", DTypeName(dtype), k));
      const int64_t rows = 1 + k % 6;
      const TestWeights w = MakeWeights(dtype, 5, k, random);
      CheckMatMul(w, random.Floats(rows * (k + 3)), rows, k + 3);
      if (testing::Test::HasFatalFailure()) return;
    }
}

TEST(MatMul, ModelShapes) {
  Random random(2);
  for (const DType dtype : kFormats)
    for (const int64_t k : {512, 576, 1536, 7168})
      for (const int64_t rows : {1, 2, 4, 33}) {
        SCOPED_TRACE(fmt::format("{} k {} rows {}", DTypeName(dtype), k, rows));
        CheckMatMul(MakeWeights(dtype, 9, k, random), random.Floats(rows * k), rows, k);
        if (testing::Test::HasFatalFailure()) return;
      }
}

TEST(MatMul, EveryKindOfNumber) {
  Random random(3);
  for (const DType dtype : kFormats)
    for (const Kind x_kind : kAllKinds)
      for (const Kind w_kind : kAllKinds)
        for (const int64_t rows : {1, 7}) {
          SCOPED_TRACE(
              fmt::format("{} x {} w {}", DTypeName(dtype), static_cast<int>(x_kind), static_cast<int>(w_kind)));
          CheckMatMul(MakeWeights(dtype, 6, 150, random, w_kind), random.Floats(rows * 150, x_kind), rows, 150);
          if (testing::Test::HasFatalFailure()) return;
        }
}

TEST(MatMul, BlocksOfAnySizeFromAnyRow) {
  Random random(4);
  for (const auto& [block_rows, block_cols] : {std::pair{128, 128}, {16, 32}, {3, 5}, {128, 100}, {1, 1}, {64, 500}})
    for (const int64_t first_row : {0, 7, 129})
      for (const int64_t rows : {1, 6}) {
        SCOPED_TRACE(fmt::format("blocks {}x{} from row {}", block_rows, block_cols, first_row));
        const TestWeights w =
            MakeWeights(DType::kF8E4M3, 11, 300, random, Kind::kNormal, block_rows, block_cols, first_row);
        CheckMatMul(w, random.Floats(rows * 300), rows, 300);
        if (testing::Test::HasFatalFailure()) return;
      }
}

TEST(MatMul, NaNCodesGiveNaN) {
  Random random(5);
  ForEachSet([&](const KernelSet& set) {
    for (const int64_t rows : {1, 9})
      for (int64_t at = 0; at < 200; at += 13)
        for (const uint8_t code : {uint8_t{0x7F}, uint8_t{0xFF}}) {
          TestWeights w = MakeWeights(DType::kF8E4M3, 3, 200, random);
          w.bytes[static_cast<size_t>(1 + 200 + at)] = code;
          const std::vector<float> x(static_cast<size_t>(rows * 200), 0.0f);  // even 0 times NaN
          std::vector<float> y(static_cast<size_t>(rows * 3));
          set.matmul(x.data(), 200, rows, w.view, 0, 3, y.data(), 3);
          for (int64_t m = 0; m < rows; ++m) {
            EXPECT_EQ(y[m * 3], 0.0f);
            EXPECT_TRUE(std::isnan(y[m * 3 + 1])) << "code at " << at;
            EXPECT_EQ(y[m * 3 + 2], 0.0f);
          }
        }
  });
}

// The promise behind chunked prefill, batching and threads: cuts change no bit.
TEST(MatMul, AnySplitOfRowsAndColumnsGivesTheSameBits) {
  Random random(6);
  const int64_t n = 37, k = 390, rows = 61;
  for (const DType dtype : kFormats) {
    const TestWeights w = MakeWeights(dtype, n, k, random);
    const std::vector<float> x = random.Floats(rows * k);
    ForEachSet([&](const KernelSet& set) {
      std::vector<float> whole(static_cast<size_t>(rows * n)), cut(whole.size());
      set.matmul(x.data(), k, rows, w.view, 0, n, whole.data(), n);
      for (int64_t m = 0; m < rows;) {
        const int64_t m_count = std::min(rows - m, 1 + random.Below(9));
        for (int64_t j = 0; j < n;) {
          const int64_t j_count = std::min(n - j, 1 + random.Below(11));
          set.matmul(x.data() + m * k, k, m_count, w.view, j, j + j_count, cut.data() + m * n + j, n);
          j += j_count;
        }
        m += m_count;
      }
      ExpectSameBits(cut, whole);
      // A view of some rows is the same matrix.
      std::vector<float> part(static_cast<size_t>(rows * 5));
      set.matmul(x.data(), k, rows, w.view.Rows(20, 25), 0, 5, part.data(), 5);
      for (int64_t m = 0; m < rows; ++m)
        for (int64_t j = 0; j < 5; ++j) ASSERT_TRUE(SameBits(part[m * 5 + j], whole[m * n + 20 + j]));
    });
  }
}

void CheckTransposed(const TestWeights& w, const std::vector<float>& x, int64_t rows) {
  const int64_t r_count = w.view.rows, cols = w.view.cols;
  std::vector<float> decoded(static_cast<size_t>(cols)), sums(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < r_count; ++r) {
    Reference().dequantize_row(w.view, r, decoded.data());
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t c = 0; c < cols; ++c) sums[m * cols + c] += std::fabs(x[m * r_count + r] * decoded[c]);
  }
  CompareSets(
      [&](const KernelSet& set) {
        std::vector<float> y(static_cast<size_t>(rows * cols), -1.0f);
        const int64_t middle = cols / 3;  // also cut in two
        set.matmul_transposed(x.data(), r_count, rows, w.view, 0, middle, y.data(), cols);
        set.matmul_transposed(x.data(), r_count, rows, w.view, middle, cols, y.data() + middle, cols);
        std::vector<float> whole(y.size());
        set.matmul_transposed(x.data(), r_count, rows, w.view, 0, cols, whole.data(), cols);
        ExpectSameBits(y, whole);
        return y;
      },
      [&](size_t i) { return DotBound(sums[i], r_count); });
}

TEST(MatMulTransposed, EveryFormatKindAndShape) {
  Random random(7);
  for (const DType dtype : kFormats) {
    SCOPED_TRACE(DTypeName(dtype));
    for (int64_t cols = 1; cols <= 257; cols += 3)
      CheckTransposed(MakeWeights(dtype, 1 + cols % 70, cols, random), random.Floats(5 * (1 + cols % 70)), 5);
    for (const Kind kind : kAllKinds)
      CheckTransposed(MakeWeights(dtype, 40, 70, random, kind), random.Floats(3 * 40, kind), 3);
    CheckTransposed(MakeWeights(dtype, 128, 512, random, Kind::kNormal, 128, 128, 64), random.Floats(128), 1);
    if (testing::Test::HasFatalFailure()) return;
  }
  CheckTransposed(MakeWeights(DType::kF8E4M3, 40, 70, random, Kind::kNormal, 3, 5, 2), random.Floats(3 * 40), 3);
}

TEST(DequantizeRow, IsCodeTimesScaleRoundedOnce) {
  Random random(8);
  for (const DType dtype : kFormats)
    for (const Kind kind : kAllKinds)
      for (const auto& [block_rows, block_cols] : {std::pair{128, 128}, {3, 5}}) {
        const TestWeights w = MakeWeights(dtype, 9, 333, random, kind, block_rows, block_cols, 4);
        std::vector<float> expected(333);
        for (int64_t row = 0; row < 9; ++row) {
          Reference().dequantize_row(w.view, row, expected.data());
          ForEachSet([&](const KernelSet& set) {
            std::vector<float> got(333);
            set.dequantize_row(w.view, row, got.data());
            ExpectSameBits(got, expected);
          });
        }
      }
}

}  // namespace
}  // namespace minke
