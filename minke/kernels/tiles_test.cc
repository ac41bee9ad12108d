// Weights in tiles: the products, and the way there and back.
#include <algorithm>

#include "minke/kernels/kernels_testing.h"
#include "minke/tensor/quantize.h"

namespace minke {
namespace {

constexpr DType kTiled[] = {DType::kQ8, DType::kQ6, DType::kQ4};

std::vector<TileX> Quantized(const KernelSet& set, const std::vector<float>& x, int64_t rows, int64_t cols) {
  std::vector<TileX> codes(static_cast<size_t>(rows * ColTiles(cols)));
  for (int64_t m = 0; m < rows; ++m) set.quantize_x(x.data() + m * cols, cols, codes.data() + m * ColTiles(cols));
  return codes;
}

// The float part of a sum: its tiles one after the other, twice with a minimum, and the few roundings of each term.
// With a minimum both parts are larger than their difference.
double TilesBound(const WeightView& w, const TileX* x, int64_t n) {
  std::vector<float> row(static_cast<size_t>(w.cols));
  double sum = 0;
  const KernelSet& reference = Reference();
  WeightView without = w;
  std::vector<float> zeros;
  if (HasMinimum(w.dtype)) {  // the codes' part alone is the larger one
    zeros.assign(w.scales, w.scales + RowTiles(w.rows) * kRowScalesOfTile);
    for (int64_t t = 0; t < RowTiles(w.rows); ++t)
      std::fill_n(zeros.data() + t * kRowScalesOfTile + kTileRows, kTileRows, 0.0f);
    without.scales = zeros.data();
  }
  reference.dequantize_row(without, n, row.data());
  for (int64_t c = 0; c < w.cols; ++c)
    sum += std::fabs(row[static_cast<size_t>(c)] * x[c / kTileCols].scale * x[c / kTileCols].codes[c % kTileCols]);
  reference.dequantize_row(w, n, row.data());
  for (int64_t c = 0; c < w.cols; ++c)
    sum += std::fabs(row[static_cast<size_t>(c)] * x[c / kTileCols].scale * x[c / kTileCols].codes[c % kTileCols]);
  return kSpacing * (std::sqrt(static_cast<double>(ColTiles(w.cols))) / 2 + 4) * sum;
}

void CheckMatMulTiles(DType dtype, int64_t rows, int64_t n, int64_t k, Random& random) {
  SCOPED_TRACE(fmt::format("{} {}x{}x{}", DTypeName(dtype), rows, n, k));
  const TestWeights w = MakeTiles(dtype, n, k, random);
  const std::vector<float> x = random.Floats(rows * k);
  const std::vector<TileX> codes = Quantized(Reference(), x, rows, k);
  CompareSets(
      [&](const KernelSet& set) {
        std::vector<float> y(static_cast<size_t>(rows * n), -1.0f);
        set.matmul_tiles(codes.data(), ColTiles(k), rows, w.view, 0, n, y.data(), n);
        return y;
      },
      [&](size_t i) {
        const int64_t at = static_cast<int64_t>(i);
        return TilesBound(w.view, codes.data() + at / n * ColTiles(k), at % n);
      });
}

TEST(MatMulTiles, EveryLengthTo257) {
  Random random(31);
  for (const DType dtype : kTiled)
    for (int64_t k = 1; k <= 257; ++k) {
      CheckMatMulTiles(dtype, 1 + k % 11, 1 + k % 35, k, random);
      if (testing::Test::HasFatalFailure()) return;
    }
}

TEST(MatMulTiles, ModelShapes) {
  Random random(32);
  for (const DType dtype : kTiled)
    for (const int64_t k : {512, 1536, 7168})
      for (const int64_t rows : {1, 2, 7, 66}) {
        CheckMatMulTiles(dtype, rows, 33, k, random);
        if (testing::Test::HasFatalFailure()) return;
      }
}

TEST(MatMulTiles, LargestCodesDoNotOverflow) {
  Random random(33);
  for (const DType dtype : kTiled) {
    TestWeights w = MakeTiles(dtype, 16, 64, random);
    uint8_t* tile = w.bytes.data() + 1;
    for (int64_t t = 0; t < 2; ++t) std::fill_n(tile + t * TileBytes(dtype), TileCodeBytes(dtype), uint8_t{255});
    for (const float sign : {1.0f, -1.0f}) {
      const std::vector<TileX> codes = Quantized(Reference(), std::vector<float>(64, sign), 1, 64);
      CompareSets(
          [&](const KernelSet& set) {
            std::vector<float> y(16);
            set.matmul_tiles(codes.data(), 2, 1, w.view, 0, 16, y.data(), 16);
            return y;
          },
          [&](size_t i) { return TilesBound(w.view, codes.data(), static_cast<int64_t>(i)); });
    }
  }
}

TEST(MatMulTiles, AnySplitOfRowsAndColumnsGivesTheSameBits) {
  Random random(34);
  const int64_t n = 77, k = 1390, rows = 131, blocks = ColTiles(k);
  for (const DType dtype : kTiled) {
    const TestWeights w = MakeTiles(dtype, n, k, random);
    const std::vector<float> x = random.Floats(rows * k);
    ForEachSet([&](const KernelSet& set) {
      const std::vector<TileX> codes = Quantized(set, x, rows, k);
      std::vector<float> whole(static_cast<size_t>(rows * n)), cut(whole.size());
      set.matmul_tiles(codes.data(), blocks, rows, w.view, 0, n, whole.data(), n);
      for (int64_t m = 0; m < rows;) {
        const int64_t m_count = std::min(rows - m, 1 + random.Below(19));
        for (int64_t j = 0; j < n;) {
          const int64_t j_count = std::min(n - j, 1 + random.Below(40));
          set.matmul_tiles(codes.data() + m * blocks, blocks, m_count, w.view, j, j + j_count, cut.data() + m * n + j,
                           n);
          j += j_count;
        }
        m += m_count;
      }
      ExpectSameBits(cut, whole);
      // A view of some rows is the same matrix.
      std::vector<float> part(static_cast<size_t>(rows * 20));
      set.matmul_tiles(codes.data(), blocks, rows, w.view.Rows(32, 52), 0, 20, part.data(), 20);
      for (int64_t m = 0; m < rows; ++m)
        for (int64_t j = 0; j < 20; ++j) ASSERT_TRUE(SameBits(part[m * 20 + j], whole[m * n + 32 + j]));
    });
  }
}

TEST(QuantizeX, EveryLengthAndKind) {
  Random random(35);
  for (int64_t n = 1; n <= 257; ++n)
    for (const Kind kind : kAllKinds) {
      const std::vector<float> x = random.Floats(n, kind);
      const std::vector<TileX> expected = Quantized(Reference(), x, 1, n);
      ForEachSet([&](const KernelSet& set) {
        const std::vector<TileX> got = Quantized(set, x, 1, n);
        for (size_t t = 0; t < got.size(); ++t) {
          ASSERT_TRUE(SameBits(got[t].scale, expected[t].scale)) << n << " block " << t;
          if (std::isnan(expected[t].scale)) {
            ASSERT_TRUE(std::isnan(got[t].scaled_sum));
            continue;
          }
          int32_t sum = 0;
          for (int64_t c = 0; c < kTileCols; ++c) {
            // Without FMA the product is rounded before it is rounded to an integer.
            ASSERT_LE(std::abs(got[t].codes[c] - expected[t].codes[c]), HasFma(set) || IsReference(set) ? 0 : 1);
            sum += got[t].codes[c];
          }
          ASSERT_EQ(got[t].minus_offset, -128 * sum);
          ASSERT_TRUE(SameBits(got[t].scaled_sum, got[t].scale * static_cast<float>(sum)));
        }
      });
      if (testing::Test::HasFatalFailure()) return;
    }
}

TEST(QuantizeX, IsHalfAStepFromX) {
  Random random(36);
  const std::vector<float> x = random.Floats(4096);
  const std::vector<TileX> codes = Quantized(Reference(), x, 1, 4096);
  for (size_t i = 0; i < x.size(); ++i) {
    const TileX& block = codes[i / kTileCols];
    ASSERT_LE(std::fabs(block.scale * block.codes[i % kTileCols] - x[i]), 0.5001f * block.scale);
  }
}

TEST(QuantizeX, WhatIsNotFiniteReachesEveryProduct) {
  Random random(37);
  for (const DType dtype : kTiled) {
    const TestWeights w = MakeTiles(dtype, 16, 96, random);
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()})
      ForEachSet([&](const KernelSet& set) {
        std::vector<float> x = random.Floats(96), y(16);
        x[static_cast<size_t>(random.Below(96))] = bad;
        const std::vector<TileX> codes = Quantized(set, x, 1, 96);
        set.matmul_tiles(codes.data(), 3, 1, w.view, 0, 16, y.data(), 16);
        for (const float v : y) ASSERT_TRUE(std::isnan(v));
      });
  }
}

TEST(MatMulTransposed, OfTiles) {
  Random random(38);
  for (const DType dtype : kTiled)
    for (const auto& [r_count, cols] : {std::pair{16, 32}, {128, 512}, {48, 70}, {20, 31}, {1, 1}}) {
      SCOPED_TRACE(fmt::format("{} {}x{}", DTypeName(dtype), r_count, cols));
      const int64_t rows = 3;
      const TestWeights w = MakeTiles(dtype, r_count, cols, random);
      const std::vector<float> x = random.Floats(rows * r_count);
      CompareSets(
          [&](const KernelSet& set) {
            std::vector<float> y(static_cast<size_t>(rows * cols), -1.0f), whole(y.size());
            const int64_t middle = cols / 3;
            set.matmul_transposed(x.data(), r_count, rows, w.view, 0, middle, y.data(), cols);
            set.matmul_transposed(x.data(), r_count, rows, w.view, middle, cols, y.data() + middle, cols);
            set.matmul_transposed(x.data(), r_count, rows, w.view, 0, cols, whole.data(), cols);
            ExpectSameBits(y, whole);
            return y;
          },
          // Weights are below 64 * 255^2 * 1e-6 + 255^2 * 1e-6 < 4.3, |x| below 1.
          [&](size_t) { return kSpacing * (std::sqrt(static_cast<double>(r_count)) / 2 + 4) * 4.3 * r_count; });
    }
}

TEST(DequantizeRow, OfTiles) {
  Random random(39);
  for (const DType dtype : kTiled) {
    const TestWeights w = MakeTiles(dtype, 35, 333, random);
    for (int64_t row = 0; row < 35; ++row) {
      std::vector<float> expected(333);
      Reference().dequantize_row(w.view, row, expected.data());
      ForEachSet([&](const KernelSet& set) {
        std::vector<float> got(333);
        set.dequantize_row(w.view, row, got.data());
        for (size_t c = 0; c < got.size(); ++c) ASSERT_NEAR(got[c], expected[c], 4 * kSpacing * 4.3) << c;
      });
    }
  }
}

// ---- from F32 to tiles and back ---------------------------------------------------------------------------------

struct RoundTrip {
  std::vector<float> values;
  QuantizationError error;
};

RoundTrip ThereAndBack(DType dtype, const std::vector<float>& values, int64_t rows, int64_t cols) {
  std::vector<uint8_t> tiles(static_cast<size_t>(RowTiles(rows) * ColTiles(cols) * TileBytes(dtype)));
  std::vector<float> scales(static_cast<size_t>(RowTiles(rows) * kRowScalesOfTile));
  RoundTrip result;
  const int64_t row_tile_bytes = ColTiles(cols) * TileBytes(dtype);
  for (int64_t t = 0; t < RowTiles(rows); ++t)
    QuantizeRowTile(
        dtype, values.data() + t * kTileRows * cols, std::min(kTileRows, rows - t * kTileRows), cols,
        std::span(tiles).subspan(static_cast<size_t>(t * row_tile_bytes), static_cast<size_t>(row_tile_bytes)),
        std::span<float, kRowScalesOfTile>(scales.data() + t * kRowScalesOfTile, static_cast<size_t>(kRowScalesOfTile)),
        result.error);
  const WeightView view = {.dtype = dtype, .data = tiles.data(), .rows = rows, .cols = cols, .scales = scales.data()};
  result.values.resize(values.size());
  for (int64_t r = 0; r < rows; ++r) Reference().dequantize_row(view, r, result.values.data() + r * cols);
  return result;
}

std::vector<float> Gaussian(int64_t n, Random& random) {
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x)
    v = static_cast<float>(std::sqrt(-2 * std::log(1 - random.Uniform())) *
                           std::cos(6.283185307179586 * random.Uniform()));
  return x;
}

double RelativeRms(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, weights = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    weights += double{a[i]} * a[i];
  }
  return std::sqrt(error / weights);
}

// The bounds are what GGUF's formats of the same size reach on Gaussian weights: Q8_0, Q6_K, Q4_K
// (docs/performance.md).
TEST(Quantize, ErrsNoMoreThanTheUsualFormatsOfItsSize) {
  Random random(40);
  const std::vector<float> values = Gaussian(64 * 1024, random);
  for (const auto& [dtype, bound] : {std::pair{DType::kQ8, 0.0054}, {DType::kQ6, 0.0177}, {DType::kQ4, 0.0717}}) {
    const RoundTrip trip = ThereAndBack(dtype, values, 64, 1024);
    const double rms = RelativeRms(values, trip.values);
    RecordProperty(std::string(DTypeName(dtype)), fmt::format("{:.5f}", rms));
    EXPECT_LT(rms, bound) << DTypeName(dtype);
    EXPECT_GT(rms, bound / 2) << DTypeName(dtype);
    EXPECT_NEAR(trip.error.relative_rms(), rms, 1e-3 * rms) << DTypeName(dtype);
  }
}

TEST(Quantize, EdgesAndSimpleBlocks) {
  Random random(41);
  for (const DType dtype : kTiled) {
    SCOPED_TRACE(DTypeName(dtype));
    const RoundTrip zeros = ThereAndBack(dtype, std::vector<float>(20 * 40, 0.0f), 20, 40);
    for (const float v : zeros.values) ASSERT_EQ(v, 0.0f);
    EXPECT_EQ(zeros.error.relative_rms(), 0.0);
    for (const float value : {1.0f, -1.0f, 1e-15f, 3e15f}) {  // a constant is nearly exact
      const RoundTrip constant = ThereAndBack(dtype, std::vector<float>(3 * 33, value), 3, 33);
      for (const float v : constant.values) ASSERT_NEAR(v / value, 1.0f, 0.008f);
    }
    const std::vector<float> odd = Gaussian(19 * 45, random);
    EXPECT_LT(RelativeRms(odd, ThereAndBack(dtype, odd, 19, 45).values), 0.08);
  }
}

}  // namespace
}  // namespace minke
