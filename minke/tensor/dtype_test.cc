#include "minke/tensor/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "minke/tensor/safetensors.h"

namespace minke {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class DTypeGolden : public testing::Test {
 protected:
  DTypeGolden() : units_(OpenSafetensors(MINKE_TEST_DATA "/golden/units/units.safetensors").value()) {}
  template <class T>
  std::span<const T> Values(const char* name) const {
    const TensorRef* tensor = units_->Find(name);
    return {reinterpret_cast<const T*>(tensor->bytes.data()), static_cast<size_t>(tensor->num_elements())};
  }
  std::unique_ptr<TensorFile> units_;
};

TEST_F(DTypeGolden, DecodesE4M3) {
  const auto expected = Values<float>("e4m3.decode");
  ASSERT_EQ(expected.size(), 256u);
  for (size_t code = 0; code < 256; ++code) {
    const float value = E4M3ToFloat(static_cast<uint8_t>(code));
    if (std::isnan(expected[code])) {
      EXPECT_TRUE(std::isnan(value)) << code;
    } else {
      EXPECT_EQ(value, expected[code]) << code;
      EXPECT_EQ(std::signbit(value), std::signbit(expected[code])) << code;
    }
  }
}

TEST_F(DTypeGolden, EncodesE4M3) {
  const auto in = Values<float>("e4m3.encode_in");
  const auto out = Values<uint8_t>("e4m3.encode_out");
  ASSERT_EQ(in.size(), out.size());
  for (size_t i = 0; i < in.size(); ++i) EXPECT_EQ(int{FloatToE4M3(in[i])}, int{out[i]}) << in[i];
}

TEST(DType, F16RoundTripsAndRoundsToNearest) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = F16ToFloat(static_cast<uint16_t>(bits));
    if (!std::isnan(value)) {
      ASSERT_EQ(FloatToF16(value), bits);
    }
  }
  EXPECT_TRUE(std::isnan(F16ToFloat(FloatToF16(kNan))));
  for (uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const float below = F16ToFloat(static_cast<uint16_t>(bits)), above = F16ToFloat(static_cast<uint16_t>(bits + 1));
    const float middle = (below + above) / 2;
    ASSERT_EQ(FloatToF16(middle), bits + bits % 2);
    ASSERT_EQ(FloatToF16(std::nextafter(middle, 0.0f)), bits);
    ASSERT_EQ(FloatToF16(std::nextafter(-middle, -kInf)), (bits + 1) | 0x8000);
  }
  EXPECT_EQ(FloatToF16(std::nextafter(65520.0f, 0.0f)), 0x7BFF);
  EXPECT_EQ(FloatToF16(65520.0f), 0x7C00);
}

TEST(DType, E4M3RoundTripsAndRoundsToNearest) {
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7F) == 0x7F) continue;
    EXPECT_EQ(FloatToE4M3(E4M3ToFloat(static_cast<uint8_t>(code))), code);
  }
  for (int code = 0; code < 0x7E; ++code) {
    const float below = E4M3ToFloat(static_cast<uint8_t>(code)), above = E4M3ToFloat(static_cast<uint8_t>(code + 1));
    const float middle = (below + above) / 2;
    const int even = code % 2 == 0 ? code : code + 1;
    EXPECT_EQ(FloatToE4M3(middle), even) << middle;
    EXPECT_EQ(FloatToE4M3(std::nextafter(middle, 0.0f)), code) << middle;
    EXPECT_EQ(FloatToE4M3(std::nextafter(middle, 500.0f)), code + 1) << middle;
    EXPECT_EQ(FloatToE4M3(-middle), even | 0x80) << middle;
  }
  EXPECT_EQ(FloatToE4M3(kInf), 0x7E);
  EXPECT_EQ(FloatToE4M3(-1e30f), 0xFE);
  EXPECT_EQ(FloatToE4M3(kNan), 0x7F);
  EXPECT_EQ(FloatToE4M3(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(DType, E8M0IsAPowerOfTwo) {
  EXPECT_EQ(E8M0ToFloat(127), 1.0f);
  EXPECT_EQ(E8M0ToFloat(120), 0x1p-7f);
  EXPECT_EQ(E8M0ToFloat(0), 0x1p-127f);
  EXPECT_EQ(E8M0ToFloat(254), 0x1p127f);
  EXPECT_TRUE(std::isnan(E8M0ToFloat(255)));
}

TEST(DType, BF16RoundsToNearestEven) {
  EXPECT_EQ(FloatToBF16(1.0f), 0x3F80);
  EXPECT_EQ(FloatToBF16(1.0f + 0x1p-8f), 0x3F80);  // a tie goes to the even 1.0
  EXPECT_EQ(FloatToBF16(1.0f + 0x1p-8f + 0x1p-20f), 0x3F81);
  EXPECT_EQ(FloatToBF16(1.0f + 0x3p-8f), 0x3F82);  // a tie between odd 0x3F81 and even 0x3F82
  EXPECT_EQ(FloatToBF16(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_EQ(FloatToBF16(-kInf), 0xFF80);
  EXPECT_TRUE(std::isnan(BF16ToFloat(FloatToBF16(kNan))));
  EXPECT_TRUE(std::isnan(BF16ToFloat(FloatToBF16(std::bit_cast<float>(0x7F800001u))))) << "must not become infinity";
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = BF16ToFloat(static_cast<uint16_t>(bits));
    if (!std::isnan(value)) {
      EXPECT_EQ(FloatToBF16(value), bits);
    }
  }
}

TEST(DType, F16IsExact) {
  EXPECT_EQ(F16ToFloat(0x3C00), 1.0f);
  EXPECT_EQ(F16ToFloat(0xC000), -2.0f);
  EXPECT_EQ(F16ToFloat(0x7BFF), 65504.0f);
  EXPECT_EQ(F16ToFloat(0x0001), 0x1p-24f);
  EXPECT_EQ(F16ToFloat(0x03FF), 1023 * 0x1p-24f);
  EXPECT_EQ(F16ToFloat(0x0400), 0x1p-14f);
  EXPECT_EQ(F16ToFloat(0xFC00), -kInf);
  EXPECT_TRUE(std::isnan(F16ToFloat(0x7E01)));
  EXPECT_TRUE(std::signbit(F16ToFloat(0x8000)));
  EXPECT_EQ(F16ToFloat(0x3555), 1365 * 0x1p-12f);
}

TEST(DType, NamesAreThoseOfSafetensors) {
  for (const char* name :
       {"F32", "F16", "BF16", "F8_E4M3", "F8_E8M0", "F64", "I64", "I32", "I16", "I8", "U8", "BOOL"}) {
    const auto dtype = DTypeFromName(name);
    ASSERT_TRUE(dtype) << name;
    EXPECT_EQ(DTypeName(*dtype), name);
  }
  EXPECT_FALSE(DTypeFromName("F8_E5M2"));
  EXPECT_FALSE(DTypeFromName("f32"));
  EXPECT_FALSE(DTypeFromName(""));
}

}  // namespace
}  // namespace minke
