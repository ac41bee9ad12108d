// GGUF's blocks (tensor/block.h): a product on them has the bits of the product on the same weights in F32.
#include "minke/kernels/kernels_testing.h"

namespace minke {
namespace {

// The same matrix in F32, by the reference.
struct Plain {
  std::vector<float> values;
  WeightView view;
};
Plain Decode(const WeightView& w) {
  Plain plain;
  plain.values.resize(static_cast<size_t>(w.rows * w.cols));
  for (int64_t r = 0; r < w.rows; ++r) Reference().dequantize_row(w, r, plain.values.data() + r * w.cols);
  plain.view = {.dtype = DType::kF32, .data = plain.values.data(), .rows = w.rows, .cols = w.cols};
  return plain;
}

TEST(Blocks, RowsAreTheSpecificationsOnEverySet) {
  Random random(1);
  for (const DType dtype : kBlockTypes)
    for (const Kind kind : kAllKinds) {
      const TestWeights w = MakeBlocks(dtype, 9, 768, random, kind);
      const Plain plain = Decode(w.view);
      ForEachSet([&](const KernelSet& set) {
        SCOPED_TRACE(fmt::format("{} kind {}", DTypeName(dtype), static_cast<int>(kind)));
        std::vector<float> got(plain.values.size());
        for (int64_t r = 0; r < w.view.rows; ++r) set.dequantize_row(w.view, r, got.data() + r * w.view.cols);
        ExpectSameBits(got, plain.values);
      });
    }
}

TEST(Blocks, ProductsHaveTheBitsOfF32) {
  Random random(2);
  constexpr int64_t kN = 21;
  for (const DType dtype : kBlockTypes)
    for (int64_t blocks = 1; blocks <= 9; blocks += 2) {
      const int64_t k = blocks * BlockCols(dtype);
      const TestWeights w = MakeBlocks(dtype, kN, k, random);
      const Plain plain = Decode(w.view);
      for (const int64_t rows : {1, 2, 4, 30}) {
        const std::vector<float> x = random.Floats(rows * (k + 5));
        ForEachSet([&](const KernelSet& set) {
          SCOPED_TRACE(fmt::format("{} k {} rows {}", DTypeName(dtype), k, rows));
          std::vector<float> got(static_cast<size_t>(rows * kN)), expected(got.size());
          set.matmul(x.data(), k + 5, rows, w.view, 0, 3, got.data(), kN);  // cut where no register block ends
          set.matmul(x.data(), k + 5, rows, w.view.Rows(3, kN), 0, kN - 3, got.data() + 3, kN);
          set.matmul(x.data(), k + 5, rows, plain.view, 0, kN, expected.data(), kN);
          ExpectSameBits(got, expected);
        });
      }
    }
}

TEST(Blocks, TransposedProductsHaveTheBitsOfF32WhereverColumnsAreCut) {
  Random random(3);
  for (const DType dtype : kBlockTypes) {
    const int64_t r = 40, cols = 3 * BlockCols(dtype);
    const TestWeights w = MakeBlocks(dtype, r, cols, random);
    const Plain plain = Decode(w.view);
    const std::vector<float> x = random.Floats(5 * r);
    for (const int64_t cut : {int64_t{0}, int64_t{1}, int64_t{16}, int64_t{31}, int64_t{48}, cols - 7})
      ForEachSet([&](const KernelSet& set) {
        SCOPED_TRACE(fmt::format("{} cut {}", DTypeName(dtype), cut));
        std::vector<float> got(static_cast<size_t>(5 * cols)), expected(got.size());
        set.matmul_transposed(x.data(), r, 5, w.view, 0, cut, got.data(), cols);
        set.matmul_transposed(x.data(), r, 5, w.view, cut, cols, got.data() + cut, cols);
        set.matmul_transposed(x.data(), r, 5, plain.view, 0, cols, expected.data(), cols);
        ExpectSameBits(got, expected);
      });
  }
}

}  // namespace
}  // namespace minke
