// What the kernel tests share: inputs of every kind, and the comparison of all sets with the reference and of
// the sets with FMA among themselves.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/rng.h"
#include "minke/kernels/kernel_set.h"

namespace minke {

inline const KernelSet& Reference() { return AllKernelSets().back(); }
inline bool IsReference(const KernelSet& set) { return std::string_view(set.name) == "reference"; }
inline bool HasFma(const KernelSet& set) { return !IsReference(set) && std::string_view(set.name) != "sse42"; }

enum class Kind { kNormal, kDenormal, kHuge, kNaN };
constexpr Kind kAllKinds[] = {Kind::kNormal, Kind::kDenormal, Kind::kHuge, Kind::kNaN};

constexpr double kSpacing = 0x1.0p-23;  // of F32, relative
constexpr double kTiniest = 0x1.0p-149;

class Random {
 public:
  explicit Random(uint64_t seed) : philox_(seed, 0) {}
  double Uniform() { return philox_.Uniform(next_++); }  // [0, 1)
  int64_t Below(int64_t n) { return static_cast<int64_t>(Uniform() * static_cast<double>(n)); }
  float Signed() { return static_cast<float>(2 * Uniform() - 1); }  // [-1, 1)

  // kHuge stays below 1e18, so that a sum of thousands of products with numbers near 1e18 is still finite.
  std::vector<float> Floats(int64_t n, Kind kind = Kind::kNormal) {
    std::vector<float> x(static_cast<size_t>(n));
    for (float& v : x) v = Signed() * (kind == Kind::kDenormal ? 1e-39f : kind == Kind::kHuge ? 1e17f : 1.0f);
    if (kind == Kind::kNaN && n > 0) x[static_cast<size_t>(Below(n))] = std::numeric_limits<float>::quiet_NaN();
    return x;
  }

 private:
  Philox philox_;
  uint64_t next_ = 0;
};

inline bool SameBits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

inline void ExpectSameBits(const std::vector<float>& got, const std::vector<float>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_TRUE(SameBits(got[i], expected[i])) << "element " << i << ": " << got[i] << " and " << expected[i];
}

// run(set) gives the outputs as a vector of float; bound(i) is how far output i may be from the reference.
template <class Run, class Bound>
void CompareSets(Run run, Bound bound) {
  const std::vector<float> expected = run(Reference());
  std::vector<float> with_fma;
  for (const KernelSet& set : AllKernelSets()) {
    if (!set.supported() || IsReference(set)) continue;
    SCOPED_TRACE(set.name);
    const std::vector<float> got = run(set);
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      if (SameBits(got[i], expected[i])) continue;
      ASSERT_LE(std::fabs(double{got[i]} - double{expected[i]}), bound(i))
          << "element " << i << ": " << got[i] << ", expected " << expected[i];
    }
    if (!HasFma(set)) continue;
    if (with_fma.empty()) with_fma = got;
    ExpectSameBits(got, with_fma);
  }
}

// Calls f(set) for every set that runs here.
template <class F>
void ForEachSet(F f) {
  for (const KernelSet& set : AllKernelSets()) {
    if (!set.supported()) continue;
    SCOPED_TRACE(set.name);
    f(set);
  }
}

// A matrix of any format with storage of its own, `shift` bytes from alignment.
struct TestWeights {
  std::vector<uint8_t> bytes;
  std::vector<float> scales;
  WeightView view;
};

inline TestWeights MakeWeights(DType dtype, int64_t rows, int64_t cols, Random& random, Kind kind = Kind::kNormal,
                               int64_t block_rows = 128, int64_t block_cols = 128, int64_t first_row = 0,
                               int64_t shift = 1) {
  TestWeights w;
  const int64_t n = rows * cols, size = ElementBytes(dtype);
  w.bytes.resize(static_cast<size_t>(n * size + shift));
  uint8_t* data = w.bytes.data() + shift;
  const std::vector<float> values = random.Floats(n, kind);
  for (int64_t i = 0; i < n; ++i) {
    const float value = values[static_cast<size_t>(i)];
    if (dtype == DType::kF32) {
      std::memcpy(data + i * 4, &value, 4);
    } else if (dtype == DType::kBF16) {
      const uint16_t bits = FloatToBF16(value);
      std::memcpy(data + i * 2, &bits, 2);
    } else if (dtype == DType::kF16) {
      // Every finite pattern is as good as another; NaN where asked for.
      uint16_t bits = static_cast<uint16_t>(random.Below(0x7C00) | (random.Below(2) << 15));
      if (kind == Kind::kNormal || kind == Kind::kDenormal) bits &= 0xBFFF;  // below 2
      if (kind == Kind::kDenormal) bits &= 0x83FF;
      if (std::isnan(value)) bits = 0x7E00;
      std::memcpy(data + i * 2, &bits, 2);
    } else {
      uint8_t code = static_cast<uint8_t>(random.Below(256));
      if ((code & 0x7F) == 0x7F) code = 0;
      if (kind == Kind::kDenormal) code &= 0x87;
      if (std::isnan(value)) code = random.Below(2) ? 0x7F : 0xFF;
      data[i] = code;
    }
  }
  w.view = {.dtype = dtype, .data = data, .rows = rows, .cols = cols};
  if (dtype == DType::kF8E4M3) {
    w.view.block_rows = block_rows;
    w.view.block_cols = block_cols;
    w.view.first_row = first_row;
    const int64_t scale_rows = (first_row + rows + block_rows - 1) / block_rows;
    w.scales = random.Floats(scale_rows * w.view.scale_stride());
    if (kind == Kind::kHuge)
      for (float& s : w.scales) s *= 1e14f;
    w.view.scales = w.scales.data();
  }
  return w;
}

// Any code with any scale; rows and columns past the matrix hold codes too, which no result may show.
inline TestWeights MakeTiles(DType dtype, int64_t rows, int64_t cols, Random& random) {
  TestWeights w;
  constexpr int64_t kShift = 1;
  const int64_t tiles = RowTiles(rows) * ColTiles(cols), bytes = TileBytes(dtype);
  w.bytes.resize(static_cast<size_t>(tiles * bytes + kShift));
  for (uint8_t& byte : w.bytes) byte = static_cast<uint8_t>(random.Below(256));
  if (dtype == DType::kQ8)
    for (int64_t t = 0; t < tiles; ++t) {
      uint8_t* tile = w.bytes.data() + kShift + t * bytes;
      for (int64_t i = 0; i < TileCodeBytes(dtype); ++i) tile[i] = std::max<uint8_t>(tile[i], 1);
      for (int64_t r = 0; r < kTileRows; ++r) {
        const uint16_t bits = FloatToBF16(static_cast<float>(random.Uniform()) * 0.01f);
        std::memcpy(tile + TileCodeBytes(dtype) + 2 * r, &bits, 2);
      }
    }
  w.view = {.dtype = dtype, .data = w.bytes.data() + kShift, .rows = rows, .cols = cols};
  if (HasMinimum(dtype)) {
    w.scales.resize(static_cast<size_t>(RowTiles(rows) * kRowScalesOfTile));
    for (float& s : w.scales) s = static_cast<float>(random.Uniform()) * 1e-6f;
    w.view.scales = w.scales.data();
  }
  return w;
}

constexpr DType kBlockTypes[] = {DType::kQ8_0, DType::kQ4_0, DType::kQ5_0, DType::kQ5_1,
                                 DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

// Blocks of any codes. Scales are F16 of every size, small where `kind` is kNormal; infinite and NaN among them where
// it is kNaN.
inline TestWeights MakeBlocks(DType dtype, int64_t rows, int64_t cols, Random& random, Kind kind = Kind::kNormal) {
  TestWeights w;
  constexpr int64_t kShift = 1;
  const int64_t blocks = rows * cols / BlockCols(dtype), bytes = BlockBytes(dtype);
  w.bytes.resize(static_cast<size_t>(blocks * bytes + kShift));
  for (uint8_t& byte : w.bytes) byte = static_cast<uint8_t>(random.Below(256));
  const bool minimum = dtype == DType::kQ5_1 || dtype == DType::kQ4_K || dtype == DType::kQ5_K;
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t i = 0; i <= (minimum ? 1 : 0); ++i) {
      auto bits = static_cast<uint16_t>(random.Below(0x7C00) | random.Below(2) << 15);
      if (kind == Kind::kNormal) bits = static_cast<uint16_t>((bits & 0x83FF) | 0x2000);  // 2^-7 .. 2^-6
      if (kind == Kind::kDenormal) bits &= 0x83FF;
      if (kind == Kind::kNaN && random.Below(5) == 0) bits = static_cast<uint16_t>(random.Below(2) ? 0x7C00 : 0x7E01);
      std::memcpy(w.bytes.data() + kShift + b * bytes + (dtype == DType::kQ6_K ? 208 : 0) + 2 * i, &bits, sizeof bits);
    }
  w.view = {.dtype = dtype, .data = w.bytes.data() + kShift, .rows = rows, .cols = cols};
  return w;
}

}  // namespace minke
