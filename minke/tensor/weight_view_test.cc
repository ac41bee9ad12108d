#include "minke/tensor/weight_view.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

constexpr int64_t kMostBytes = 1 << 17;
const char kStorage[kMostBytes] = {};  // views of parts point into it

TEST(WeightView, BytesAreThoseOfNumbers) {
  EXPECT_EQ((WeightView{.dtype = DType::kF32, .rows = 3, .cols = 5}).bytes(), 60);
  EXPECT_EQ((WeightView{.dtype = DType::kBF16, .rows = 3, .cols = 5}).bytes(), 30);
  EXPECT_EQ((WeightView{.dtype = DType::kBF16, .data = kStorage, .rows = 3, .cols = 5}).Rows(1, 2).bytes(), 10);
}

TEST(WeightView, BytesOfFP8CountTheScalesOfCutBlocksToo) {
  // 576 rows in blocks of 128 have 5 rows of scales, 200 columns 2 of them.
  const WeightView w{
      .dtype = DType::kF8E4M3, .data = kStorage, .rows = 576, .cols = 200, .block_rows = 128, .block_cols = 128};
  EXPECT_EQ(w.bytes(), 576 * 200 + 5 * 2 * 4);
  EXPECT_EQ(w.Rows(100, 140).bytes(), 40 * 200 + 2 * 2 * 4);  // from the first block into the second
  EXPECT_EQ(w.Rows(128, 256).bytes(), 128 * 200 + 2 * 4);
  EXPECT_EQ(w.Rows(7, 7).bytes(), 0);
}

// Rows in sixteens, columns in thirty-twos; below 8 bits every sixteen rows have 32 floats of their own.
TEST(WeightView, BytesOfTilesAreWholeTiles) {
  const WeightView q8{.dtype = DType::kQ8, .data = kStorage, .rows = 40, .cols = 70},
      q4{.dtype = DType::kQ4, .rows = 40, .cols = 70};
  EXPECT_EQ(q8.bytes(), 3 * 3 * (16 * 32 + 32));
  EXPECT_EQ(q8.Rows(16, 32).bytes(), 3 * (16 * 32 + 32));
  EXPECT_EQ(q4.bytes(), 3 * 3 * (16 * 32 / 2 + 32) + 3 * 32 * 4);
}

}  // namespace
}  // namespace minke
