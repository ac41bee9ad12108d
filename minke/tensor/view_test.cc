#include "minke/tensor/view.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "minke/tensor/weight_view.h"

namespace minke {
namespace {

std::vector<float> Counting(size_t n) {
  std::vector<float> values(n);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

TEST(TensorView, IndexesRowMajor) {
  std::vector<float> values = Counting(24);
  const TensorView<float, 3> x(values.data(), {2, 3, 4});
  EXPECT_EQ(x[1][2][3], 23);
  EXPECT_EQ(x[1][0][0], 12);
  EXPECT_EQ(x[0][1].size(), 4u);
  EXPECT_EQ(x.stride(0), 12);
}

TEST(TensorView, SliceKeepsStrides) {
  std::vector<float> values = Counting(24);
  const TensorView<float, 3> x(values.data(), {2, 3, 4});
  const TensorView<const float, 3> last_two = x.Slice(2, 4);
  EXPECT_EQ(last_two.dim(2), 2);
  EXPECT_EQ(last_two[1][2][0], 22);
  EXPECT_EQ(last_two[1][2].size(), 2u);
  x.Slice(0, 1)[0][0][0] = 100;
  EXPECT_EQ(values[0], 100) << "a slice is not a copy";
}

TEST(TensorView, RowsAndSplit) {
  std::vector<float> values = Counting(24);
  const TensorView<float, 2> x(values.data(), {4, 6});
  EXPECT_EQ(x.Rows(1, 3).dim(0), 2);
  EXPECT_EQ(x.Rows(1, 3)[1][5], 17);
  EXPECT_EQ(x.Rows(2, 2).dim(0), 0);
  const TensorView<float, 3> heads = x.Split(3);
  EXPECT_EQ(heads.dim(1), 2);
  EXPECT_EQ(heads[3][1][2], 23);
  // Splitting a slice: strides are those of the whole.
  EXPECT_EQ(x.Slice(2, 6).Split(2)[1][1][0], 10);
}

TEST(WeightView, RowsOfAQuantisedMatrixKeepTheirScales) {
  std::vector<uint8_t> codes(5 * 3);
  std::iota(codes.begin(), codes.end(), uint8_t{0});
  const std::vector<float> scales = Counting(3 * 2);  // 5 x 3 in blocks of 2 x 2, cut at both edges
  const WeightView w{.dtype = DType::kF8E4M3,
                     .data = codes.data(),
                     .rows = 5,
                     .cols = 3,
                     .scales = scales.data(),
                     .block_rows = 2,
                     .block_cols = 2};
  EXPECT_EQ(w.scale_stride(), 2);
  EXPECT_EQ(w.row_scales(4)[1], 5);
  const WeightView part = w.Rows(3, 5).Rows(0, 1);
  EXPECT_EQ(part.rows, 1);
  EXPECT_EQ(*static_cast<const uint8_t*>(part.row(0)), 9);
  EXPECT_EQ(part.row_scales(0)[0], 2);
}

}  // namespace
}  // namespace minke
