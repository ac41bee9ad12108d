// What a packed row is worth, number by number, and where its parts lie.
#include "minke/kernels/pack_row.h"

#include <cmath>

#include "minke/kernels/kernels_testing.h"

namespace minke {
namespace {

TEST(PackRow, HasTheDocumentedSizes) {
  const auto bytes = [](RowFormat format, int64_t n, int64_t exact) { return 4 * RowFloats(format, n, exact); };
  EXPECT_EQ(bytes(RowFormat::kF32, 512, 64), 2304);
  EXPECT_EQ(bytes(RowFormat::kBF16, 512, 64), 1152);
  EXPECT_EQ(bytes(RowFormat::kFp8, 512, 64), 656);
  EXPECT_EQ(bytes(RowFormat::kInt8, 512, 64), 656);
  EXPECT_EQ(bytes(RowFormat::kFp8, 128, 0), 132);
  EXPECT_EQ(bytes(RowFormat::kInt8, 128, 0), 132);
  EXPECT_EQ(bytes(RowFormat::kBF16, 5, 2), 16);
  EXPECT_EQ(bytes(RowFormat::kInt8, 5, 3), 8 + 8 + 4);
}

float FloatAt(const std::vector<float>& row, int64_t byte) {
  float value;
  std::memcpy(&value, reinterpret_cast<const char*>(row.data()) + byte, sizeof(value));
  return value;
}

TEST(PackRow, RoundsEachNumberToTheNearestOfItsFormat) {
  constexpr int64_t kRank = 150, kRope = 6;  // two groups of scales, the second short
  Random random(1);
  const std::vector<float> x = random.Floats(kRank + kRope);
  ForEachSet([&](const KernelSet& set) {
    for (const RowFormat format : {RowFormat::kF32, RowFormat::kBF16, RowFormat::kFp8, RowFormat::kInt8}) {
      std::vector<float> row(static_cast<size_t>(RowFloats(format, kRank, kRope)), -7.0f);
      PackLatent(set, format, x.data(), kRank, kRope, row.data());
      const auto* bytes = reinterpret_cast<const uint8_t*>(row.data());
      const auto bf16 = [&](int64_t at) {
        uint16_t bits;
        std::memcpy(&bits, bytes + at, sizeof(bits));
        return BF16ToFloat(bits);
      };
      for (int64_t i = 0; i < kRank + kRope; ++i) {
        const float value = x[static_cast<size_t>(i)], size = std::fabs(value);
        if (format == RowFormat::kF32) {
          EXPECT_EQ(row[static_cast<size_t>(i)], value);
        } else if (format == RowFormat::kBF16 || i >= kRank) {
          const float got = bf16(format == RowFormat::kBF16 ? 2 * i : ExactOffset(kRank) + 2 * (i - kRank));
          EXPECT_LE(std::fabs(got - value), size / 256) << i;
        } else {
          const float scale = FloatAt(row, ScaleOffset(kRank, kRope) + 4 * (i / kScaleGroup));
          const bool fp8 = format == RowFormat::kFp8;
          const float got = (fp8 ? E4M3ToFloat(bytes[i]) : static_cast<float>(bytes[i]) - 128) * scale;
          EXPECT_LE(std::fabs(got - value), fp8 ? std::max(size / 16, scale / 1024) : scale * 0.501f) << i;
          if (fp8) {
            EXPECT_EQ(std::exp2(std::round(std::log2(scale))), scale) << i;
          } else {
            EXPECT_LE(scale, 1.0f / 127) << i;
          }
        }
      }
    }
  });
}

TEST(PackRow, IndexKeysAreRotatedWhereTheyAreRounded) {
  Random random(2);
  const std::vector<float> x = random.Floats(128);
  for (const RowFormat format : {RowFormat::kF32, RowFormat::kBF16, RowFormat::kFp8, RowFormat::kInt8}) {
    std::vector<float> key = x, rotated = x, row(128), expected(128);
    PackIndexKey(Reference(), format, key.data(), 128, row.data());
    if (format == RowFormat::kFp8 || format == RowFormat::kInt8) Reference().hadamard(rotated.data(), 128);
    PackLatent(Reference(), format, rotated.data(), 128, 0, expected.data());
    row.resize(static_cast<size_t>(RowFloats(format, 128, 0)));
    expected.resize(row.size());
    ExpectSameBits(row, expected);
  }
}

TEST(PackRow, NaNAndInfinityShowInWhatIsRead) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> x(16, 0.5f), row(16);
    x[3] = bad;
    PackLatent(Reference(), RowFormat::kInt8, x.data(), 12, 4, row.data());
    EXPECT_TRUE(std::isnan(FloatAt(row, ScaleOffset(12, 4))));
    PackLatent(Reference(), RowFormat::kBF16, x.data(), 12, 4, row.data());
    uint16_t bits;
    std::memcpy(&bits, reinterpret_cast<const char*>(row.data()) + 6, sizeof(bits));
    EXPECT_FALSE(std::isfinite(BF16ToFloat(bits)));
  }
}

}  // namespace
}  // namespace minke
