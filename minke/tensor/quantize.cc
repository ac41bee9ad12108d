#include "minke/tensor/quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "minke/base/check.h"

namespace minke {
namespace {

// The values of one row and one tile; zeros past the matrix.
using Block = std::array<float, kTileCols>;
using Codes = std::array<uint8_t, kTileCols>;

// Nearest integer, ties to even, of |x| < 2^22; a plain addition, so that loops over it vectorise.
float Round(float x) { return x + 0x1.8p23f - 0x1.8p23f; }

// ---- 8 bits: one scale --------------------------------------------------------------------------------------

constexpr float kMost8 = 127;

float Code8(float x, float inverse) { return std::clamp(Round(x * inverse), -kMost8, kMost8); }

double Error8(const Block& x, float scale) {
  const float inverse = scale > 0 ? 1 / scale : 0;
  float error = 0;
  for (const float v : x) {
    const float d = v - scale * Code8(v, inverse);
    error += d * d;
  }
  return error;
}

// The BF16 scales around largest / 127, down to those that clip the largest value a little.
uint16_t SearchScale8(const Block& x) {
  float largest = 0;
  for (const float v : x) largest = std::max(largest, std::fabs(v));
  const uint16_t middle = FloatToBF16(largest / kMost8);
  uint16_t best = middle;
  double least = Error8(x, BF16ToFloat(middle));
  constexpr uint16_t kBelow = 6, kAbove = 6;
  if (middle <= kBelow) return best;  // zero or next to it
  for (uint16_t bits = middle - kBelow; bits <= middle + kAbove; ++bits)
    if (const double error = Error8(x, BF16ToFloat(bits)); error < least) least = error, best = bits;
  return best;
}

// ---- 6 and 4 bits: scale and minimum ------------------------------------------------------------------------

struct Affine {
  float scale = 0, minimum = 0;  // W = code * scale - minimum, both >= 0
};

float Code(float x, Affine a, float inverse, float most) {
  return std::clamp(Round((x + a.minimum) * inverse), 0.0f, most);
}

double ErrorOf(const Block& x, Affine a, float most) {
  const float inverse = a.scale > 0 ? 1 / a.scale : 0;
  float error = 0;
  for (const float v : x) {
    const float d = v - (a.scale * Code(v, a, inverse, most) - a.minimum);
    error += d * d;
  }
  return error;
}

// The scale and minimum of least squared error for the codes that `a` gives.
Affine Refit(const Block& x, Affine a, float most) {
  const float inverse = a.scale > 0 ? 1 / a.scale : 0;
  float sum_q = 0, sum_qq = 0, sum_x = 0, sum_qx = 0;
  for (const float v : x) {
    const float q = Code(v, a, inverse, most);
    sum_q += q, sum_qq += q * q, sum_x += v, sum_qx += q * v;
  }
  const double n = kTileCols, det = n * sum_qq - double{sum_q} * sum_q;
  if (!(det > 0)) return a;
  double scale = (n * sum_qx - double{sum_q} * sum_x) / det;
  double minimum = (double{sum_q} * sum_qx - double{sum_qq} * sum_x) / det;
  if (minimum < 0) minimum = 0, scale = sum_qq > 0 ? sum_qx / sum_qq : 0;
  if (!(scale > 0)) return a;
  return {static_cast<float>(scale), static_cast<float>(minimum)};
}

// Ranges a little narrower and wider than the block's own, each refitted to its codes.
Affine SearchAffine(const Block& x, float most) {
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  const float minimum = std::max(0.0f, -*low), range = *high + minimum;
  if (!(range > 0)) return {0, minimum};  // one value, and that not positive
  Affine best = {range / most, minimum};
  double least = ErrorOf(x, best, most);
  constexpr int kSteps = 12;
  const float reach = most < 32 ? 0.15f : 0.04f;  // of the range
  for (int step = -kSteps; step <= kSteps; ++step) {
    const float stretch = 1 + reach * static_cast<float>(step) / kSteps;
    // Narrowed or widened about its middle, but never so that the minimum passes zero.
    const float middle = range / 2 - minimum, half = range / 2 * stretch;
    Affine a = {2 * half / most, std::max(0.0f, half - middle)};
    for (int round = 0; round < 2; ++round) {
      a = Refit(x, a, most);
      if (const double error = ErrorOf(x, a, most); error < least) least = error, best = a;
    }
  }
  return best;
}

constexpr float kMostRoot = 255;  // of s and t

uint8_t RootCode(float value, float unit) {
  return unit > 0 ? static_cast<uint8_t>(std::clamp(Round(std::sqrt(value / unit)), 0.0f, kMostRoot)) : uint8_t{0};
}
float OfRoot(float unit, int root) { return unit * static_cast<float>(root * root); }

struct RootCodes {
  int s, t;
};

// The codes around those nearest to `a` whose values err least.
RootCodes SearchRoots(const Block& x, Affine a, float d, float m, float most) {
  const RootCodes middle = {RootCode(a.scale, d), RootCode(a.minimum, m)};
  RootCodes best = middle;
  double least = std::numeric_limits<double>::infinity();
  for (int s = std::max(0, middle.s - 2); s <= std::min(255, middle.s + 2); ++s)
    for (int t = std::max(0, middle.t - 2); t <= std::min(255, middle.t + 2); ++t)
      if (const double error = ErrorOf(x, {OfRoot(d, s), OfRoot(m, t)}, most); error < least)
        least = error, best = {s, t};
  return best;
}

// ---- places in a tile -----------------------------------------------------------------------------------------

void PutCodes(DType dtype, const Codes& codes, int64_t row, uint8_t* tile) {
  for (int64_t c = 0; c < kTileCols; ++c) {
    const int64_t group = c / 4, place = 4 * row + c % 4;
    const uint8_t code = codes[static_cast<size_t>(c)];
    if (dtype == DType::kQ8) {
      tile[group * kTileGroupBytes + place] = code;
      continue;
    }
    tile[group % 4 * kTileGroupBytes + place] |= static_cast<uint8_t>((code & 15) << (group / 4 * 4));
    if (dtype == DType::kQ6)
      tile[(4 + group / 4) * kTileGroupBytes + place] |= static_cast<uint8_t>((code >> 4) << (group % 4 * 2));
  }
}

class RowTile {
 public:
  RowTile(const float* rows, int64_t num_rows, int64_t cols) : rows_(rows), num_rows_(num_rows), cols_(cols) {}

  Block At(int64_t row, int64_t tile) const {
    Block block = {};
    if (row < num_rows_)
      std::copy_n(rows_ + row * cols_ + tile * kTileCols, std::min(kTileCols, cols_ - tile * kTileCols), block.begin());
    return block;
  }

 private:
  const float* rows_;
  int64_t num_rows_, cols_;
};

void Quantize8(const RowTile& w, int64_t tiles, uint8_t* tile, QuantizationError& error) {
  for (int64_t t = 0; t < tiles; ++t, tile += TileBytes(DType::kQ8))
    for (int64_t row = 0; row < kTileRows; ++row) {
      const Block x = w.At(row, t);
      const uint16_t bits = SearchScale8(x);
      const float scale = BF16ToFloat(bits), inverse = scale > 0 ? 1 / scale : 0;
      Codes codes;
      for (size_t c = 0; c < codes.size(); ++c) codes[c] = static_cast<uint8_t>(Code8(x[c], inverse) + 128);
      PutCodes(DType::kQ8, codes, row, tile);
      std::memcpy(tile + TileCodeBytes(DType::kQ8) + 2 * row, &bits, sizeof(bits));
      error.error += Error8(x, scale);
    }
}

void QuantizeAffine(DType dtype, const RowTile& w, int64_t tiles, uint8_t* tile_data, float* row_scales,
                    QuantizationError& error) {
  const float most = dtype == DType::kQ6 ? 63 : 15;
  std::vector<Affine> wanted(static_cast<size_t>(tiles));
  for (int64_t row = 0; row < kTileRows; ++row) {
    Affine largest;
    for (int64_t t = 0; t < tiles; ++t) {
      const Affine a = wanted[static_cast<size_t>(t)] = SearchAffine(w.At(row, t), most);
      largest.scale = std::max(largest.scale, a.scale);
      largest.minimum = std::max(largest.minimum, a.minimum);
    }
    const float d = largest.scale / (kMostRoot * kMostRoot), m = largest.minimum / (kMostRoot * kMostRoot);
    row_scales[row] = d;
    row_scales[kTileRows + row] = m;
    uint8_t* tile = tile_data;
    for (int64_t t = 0; t < tiles; ++t, tile += TileBytes(dtype)) {
      const Block x = w.At(row, t);
      const RootCodes roots = SearchRoots(x, wanted[static_cast<size_t>(t)], d, m, most);
      const Affine a = {OfRoot(d, roots.s), OfRoot(m, roots.t)};
      const float inverse = a.scale > 0 ? 1 / a.scale : 0;
      Codes codes;
      for (size_t c = 0; c < codes.size(); ++c) codes[c] = static_cast<uint8_t>(Code(x[c], a, inverse, most));
      PutCodes(dtype, codes, row, tile);
      tile[TileCodeBytes(dtype) + row] = static_cast<uint8_t>(roots.s);
      tile[TileCodeBytes(dtype) + kTileRows + row] = static_cast<uint8_t>(roots.t);
      error.error += ErrorOf(x, a, most);
    }
  }
}

}  // namespace

double QuantizationError::relative_rms() const { return weights > 0 ? std::sqrt(error / weights) : 0; }

void QuantizeRowTile(DType dtype, const float* rows, int64_t num_rows, int64_t cols, std::span<uint8_t> tiles,
                     std::span<float, kRowScalesOfTile> row_scales, QuantizationError& error) {
  MINKE_CHECK(IsTiled(dtype) && 0 < num_rows && num_rows <= kTileRows);
  MINKE_CHECK(static_cast<int64_t>(tiles.size()) == ColTiles(cols) * TileBytes(dtype));
  std::ranges::fill(tiles, uint8_t{0});
  const RowTile w(rows, num_rows, cols);
  if (dtype == DType::kQ8) {
    Quantize8(w, ColTiles(cols), tiles.data(), error);
  } else {
    QuantizeAffine(dtype, w, ColTiles(cols), tiles.data(), row_scales.data(), error);
  }
  for (int64_t i = 0; i < num_rows * cols; ++i) error.weights += double{rows[i]} * rows[i];
}

}  // namespace minke
