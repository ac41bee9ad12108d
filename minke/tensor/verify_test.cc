#include "minke/tensor/verify.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace minke {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class VerifyTest : public testing::Test {
 protected:
  template <class T>
  std::optional<BadValues> Find(DType dtype, const std::vector<T>& values, ValueRule rule = ValueRule::kFinite) {
    return FindBadValues({dtype, {static_cast<int64_t>(values.size())}, std::as_bytes(std::span(values))}, rule, pool_);
  }
  ThreadPool pool_{2};
};

// Over the borders of blocks and of the threads' ranges.
TEST_F(VerifyTest, FindsTheFirstAndCountsAll) {
  std::vector<float> values(1'500'000, 0.5f);
  EXPECT_FALSE(Find(DType::kF32, values));
  for (const size_t place : {size_t{0}, size_t{1023}, size_t{1024}, size_t{749'999}, values.size() - 1}) {
    std::vector<float> bad = values;
    bad[place] = kNan;
    bad.back() = -kInf;
    const auto found = Find(DType::kF32, bad);
    ASSERT_TRUE(found) << place;
    EXPECT_EQ(found->first, static_cast<int64_t>(place));
    EXPECT_EQ(found->count, place == values.size() - 1 ? 1 : 2);
    EXPECT_EQ(std::isnan(found->value), place != values.size() - 1);
  }
}

TEST_F(VerifyTest, EveryType) {
  EXPECT_FALSE(Find(DType::kF32, std::vector<float>{0, -1, std::numeric_limits<float>::max()}));
  EXPECT_EQ(Find(DType::kF32, std::vector<float>{0, kInf})->first, 1);
  EXPECT_FALSE(Find(DType::kF64, std::vector<double>{0, -1e300}));
  EXPECT_EQ(Find(DType::kF64, std::vector<double>{0, std::nan("")})->first, 1);
  EXPECT_FALSE(Find(DType::kBF16, std::vector<uint16_t>{0x0000, 0x7F7F, 0xFF7F}));
  EXPECT_EQ(Find(DType::kBF16, std::vector<uint16_t>{0x7F7F, 0x7F80})->value, kInf);
  EXPECT_TRUE(std::isnan(Find(DType::kBF16, std::vector<uint16_t>{0xFFC1})->value));
  EXPECT_FALSE(Find(DType::kF16, std::vector<uint16_t>{0x7BFF, 0xFBFF}));
  EXPECT_EQ(Find(DType::kF16, std::vector<uint16_t>{0xFC00})->value, -kInf);
  EXPECT_FALSE(Find(DType::kF8E4M3, std::vector<uint8_t>{0x7E, 0xFE, 0}));
  EXPECT_EQ(Find(DType::kF8E4M3, std::vector<uint8_t>{0x7E, 0xFF, 0x7F})->count, 2);
  EXPECT_FALSE(Find(DType::kF8E8M0, std::vector<uint8_t>{0, 0x7F, 0xFE}));
  EXPECT_EQ(Find(DType::kF8E8M0, std::vector<uint8_t>{0xFF})->count, 1);
  EXPECT_FALSE(Find(DType::kI64, std::vector<int64_t>{-1, 1}));
  EXPECT_FALSE(Find(DType::kF32, std::vector<float>{}));
}

TEST_F(VerifyTest, ScalesMustBePositive) {
  const auto scales = [&](DType dtype, auto values) { return Find(dtype, values, ValueRule::kPositive); };
  EXPECT_FALSE(scales(DType::kF32, std::vector<float>{1, std::numeric_limits<float>::denorm_min()}));
  for (const float bad : {0.0f, -0.0f, -1.0f, kInf, -kInf, kNan, -kNan}) {
    EXPECT_EQ(scales(DType::kF32, std::vector<float>{1, bad})->first, 1) << bad;
    EXPECT_EQ(scales(DType::kBF16, std::vector<uint16_t>{0x3F80, FloatToBF16(bad)})->first, 1) << bad;
  }
}

}  // namespace
}  // namespace minke
