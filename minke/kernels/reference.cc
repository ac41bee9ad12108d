// The specification of every entry: plain loops with double sums, no cleverness.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "minke/kernels/gradient_reference.h"
#include "minke/kernels/isa/isa_sets.h"
#include "minke/tensor/block.h"
#include "minke/tensor/dtype.h"

namespace minke {
namespace {

// ---- weights ---------------------------------------------------------------------------------------

template <class T>
T Load(const void* data, int64_t i) {
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// Element (r, c) without the scale of an FP8 block.
float StoredValue(const WeightView& w, int64_t r, int64_t c) {
  if (IsBlocked(w.dtype)) {
    const int64_t cols = BlockCols(w.dtype);
    return BlockValue(w.dtype, static_cast<const char*>(w.row(r)) + c / cols * BlockBytes(w.dtype), c % cols);
  }
  const int64_t i = r * w.cols + c;
  switch (w.dtype) {
    case DType::kF32:
      return Load<float>(w.data, i);
    case DType::kF16:
      return F16ToFloat(Load<uint16_t>(w.data, i));
    case DType::kBF16:
      return BF16ToFloat(Load<uint16_t>(w.data, i));
    default:
      return E4M3ToFloat(Load<uint8_t>(w.data, i));
  }
}

float Scale(const WeightView& w, int64_t r, int64_t c) {
  return w.dtype == DType::kF8E4M3 ? w.row_scales(r)[c / w.block_cols] : 1.0f;
}

// One value of a tile: W = code * scale - minimum, code less its offset.
struct TiledValue {
  int code;
  double scale, minimum;
};

TiledValue TiledAt(const WeightView& w, int64_t r, int64_t c) {
  const int64_t row = r % kTileRows, group = c % kTileCols / 4, place = 4 * row + c % 4;
  const uint8_t* tile = static_cast<const uint8_t*>(w.row(r)) + c / kTileCols * TileBytes(w.dtype);
  const uint8_t* scales = tile + TileCodeBytes(w.dtype);
  if (w.dtype == DType::kQ8)
    return {tile[group * kTileGroupBytes + place] - 128, BF16ToFloat(Load<uint16_t>(scales, row)), 0};
  int code = tile[group % 4 * kTileGroupBytes + place] >> (group / 4 * 4) & 15;
  if (w.dtype == DType::kQ6) code |= (tile[(4 + group / 4) * kTileGroupBytes + place] >> (group % 4 * 2) & 3) << 4;
  const double s = scales[row], t = scales[kTileRows + row];
  const float* row_scales = w.row_scales(r);
  return {code, row_scales[row] * s * s, row_scales[kTileRows + row] * t * t};
}

double Weight(const WeightView& w, int64_t r, int64_t c) {
  if (IsTiled(w.dtype)) {
    const TiledValue value = TiledAt(w, r, c);
    return value.code * value.scale - value.minimum;
  }
  return double{StoredValue(w, r, c)} * Scale(w, r, c);
}

void MatMul(const float* x, int64_t x_stride, int64_t rows, const WeightView& w, int64_t n_begin, int64_t n_end,
            float* y, int64_t y_stride) {
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t n = n_begin; n < n_end; ++n) {
      double sum = 0;
      for (int64_t c = 0; c < w.cols; ++c) sum += x[m * x_stride + c] * Weight(w, n, c);
      y[m * y_stride + n - n_begin] = static_cast<float>(sum);
    }
}

void MatMulTransposed(const float* x, int64_t x_stride, int64_t rows, const WeightView& w, int64_t c_begin,
                      int64_t c_end, float* y, int64_t y_stride) {
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t c = c_begin; c < c_end; ++c) {
      double sum = 0;
      for (int64_t r = 0; r < w.rows; ++r) sum += x[m * x_stride + r] * Weight(w, r, c);
      y[m * y_stride + c - c_begin] = static_cast<float>(sum);
    }
}

void DequantizeRow(const WeightView& w, int64_t row, float* y) {
  for (int64_t c = 0; c < w.cols; ++c) y[c] = static_cast<float>(Weight(w, row, c));
}

void QuantizeX(const float* x, int64_t n, TileX* out) {
  for (int64_t begin = 0; begin < n; begin += kTileCols, ++out) {
    const int64_t count = std::min(kTileCols, n - begin);
    *out = {};
    float largest = 0;
    int32_t sum = 0;
    bool finite = true;
    for (int64_t i = 0; i < count; ++i) {
      largest = std::max(largest, std::fabs(x[begin + i]));
      finite = finite && std::isfinite(x[begin + i]);
    }
    if (!finite) {
      out->scale = out->scaled_sum = std::numeric_limits<float>::quiet_NaN();
    } else if (largest >= 0x1p-100f) {
      const float inverse = 127.0f / largest;
      out->scale = largest / 127.0f;
      for (int64_t i = 0; i < count; ++i) {
        out->codes[i] = static_cast<int8_t>(std::nearbyint(double{x[begin + i]} * inverse));
        sum += out->codes[i];
      }
      out->scaled_sum = out->scale * static_cast<float>(sum);
      out->minus_offset = -128 * sum;
    }
  }
}

void MatMulTiles(const TileX* x, int64_t x_stride, int64_t rows, const WeightView& w, int64_t n_begin, int64_t n_end,
                 float* y, int64_t y_stride) {
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t n = n_begin; n < n_end; ++n) {
      double sum = 0;
      for (int64_t c = 0; c < w.cols; ++c) {
        const TileX& block = x[m * x_stride + c / kTileCols];
        sum += Weight(w, n, c) * block.scale * block.codes[c % kTileCols];
      }
      y[m * y_stride + n - n_begin] = static_cast<float>(sum);
    }
}

using plain::Dot;
using plain::Relu;
using plain::Sigmoid;

// ---- norms and rotary position ----------------------------------------------------------------------

void Rotate(float& a, float& b, double cos, double sin) {
  const double a0 = a, b0 = b;
  a = static_cast<float>(a0 * cos - b0 * sin);
  b = static_cast<float>(a0 * sin + b0 * cos);
}

void RopeInterleaved(float* x, const float* cos, const float* sin, int64_t n) {
  for (int64_t j = 0; j < n / 2; ++j) Rotate(x[2 * j], x[2 * j + 1], cos[j], sin[j]);
}

void RopeHalfSplit(float* x, const float* cos, const float* sin, int64_t n) {
  for (int64_t j = 0; j < n / 2; ++j) Rotate(x[j], x[j + n / 2], cos[j], sin[j]);
}

// ---- rows of a cache -----------------------------------------------------------------------------------

// Number i of row `pos`, which keeps n numbers and `exact` more.
double RowElement(const PagedRows& rows, int64_t pos, int64_t n, int64_t exact, int64_t i) {
  const float* row = rows.row(pos);
  const auto* bytes = reinterpret_cast<const uint8_t*>(row);
  const auto bf16 = [&](int64_t at) {
    uint16_t bits;
    std::memcpy(&bits, bytes + at, sizeof(bits));
    return double{BF16ToFloat(bits)};
  };
  if (rows.format == RowFormat::kF32) return row[i];
  if (rows.format == RowFormat::kBF16) return bf16(2 * i);
  if (i >= n) return bf16(ExactOffset(n) + 2 * (i - n));
  float scale;
  std::memcpy(&scale, bytes + ScaleOffset(n, exact) + 4 * (i / kScaleGroup), sizeof(scale));
  return (rows.format == RowFormat::kFp8 ? double{E4M3ToFloat(bytes[i])} : double(bytes[i]) - 128) * scale;
}

// ---- indexer ------------------------------------------------------------------------------------------

void IndexScores(const float* q, const float* weights, int64_t heads, int64_t dim, const PagedRows& keys,
                 int64_t s_begin, int64_t s_end, float* scores) {
  for (int64_t s = s_begin; s < s_end; ++s) {
    double sum = 0;
    for (int64_t j = 0; j < heads; ++j) {
      double dot = 0;
      for (int64_t d = 0; d < dim; ++d) dot += q[j * dim + d] * RowElement(keys, s, dim, 0, d);
      sum += weights[j] * Relu(dot);
    }
    scores[s - s_begin] = static_cast<float>(sum);
  }
}

void QuantizeI8(const float* x, int64_t n, uint8_t* codes, float* scale) {
  float largest = 0;
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::fabs(x[i]));
    finite = finite && std::isfinite(x[i]);
  }
  const bool zero = largest < 0x1p-100f || !finite;
  for (int64_t i = 0; i < n; ++i)
    codes[i] = static_cast<uint8_t>(128 + (zero ? 0 : std::nearbyint(double{x[i]} * (127.0f / largest))));
  *scale = !finite ? std::numeric_limits<float>::quiet_NaN() : zero ? 0 : largest / 127.0f;
}

void IndexScoresI8(const uint8_t* q_codes, const float* weights, int64_t heads, int64_t dim, const PagedRows& keys,
                   int64_t s_begin, int64_t s_end, float* scores) {
  for (int64_t s = s_begin; s < s_end; ++s) {
    const auto* key = reinterpret_cast<const uint8_t*>(keys.row(s));
    double sum = 0;
    for (int64_t j = 0; j < heads; ++j) {
      int64_t dot = 0;
      for (int64_t d = 0; d < dim; ++d) dot += (q_codes[j * dim + d] - 128) * (key[d] - 128);
      sum += weights[j] * Relu(static_cast<double>(dot));
    }
    scores[s - s_begin] = static_cast<float>(sum * Load<float>(key, dim / 4));
  }
}

// Unsigned order equals score order; -0 and +0 are one value and every NaN is below minus infinity.
uint32_t OrderedKey(float score) {
  if (std::isnan(score)) return 0;
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);
  return (bits & 0x80000000u) ? ~bits : bits | 0x80000000u;
}

int64_t TopK(const float* scores, int64_t n, int64_t k, int32_t* selected) {
  k = std::clamp(k, int64_t{0}, std::max(n, int64_t{0}));
  if (k == 0) return 0;
  // The largest threshold that at least k keys reach, bit by bit.
  uint32_t threshold = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const uint32_t candidate = threshold | (uint32_t{1} << bit);
    int64_t reached = 0;
    for (int64_t i = 0; i < n; ++i) reached += OrderedKey(scores[i]) >= candidate;
    if (reached >= k) threshold = candidate;
  }
  int64_t ties = k;  // places left for keys equal to the threshold
  for (int64_t i = 0; i < n; ++i) ties -= OrderedKey(scores[i]) > threshold;
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t key = OrderedKey(scores[i]);
    if (key > threshold || (key == threshold && ties-- > 0)) selected[count++] = static_cast<int32_t>(i);
  }
  return count;
}

void PeakF32(float* x, int64_t rounds, float a, float b) {
  for (int64_t round = 0; round < rounds; ++round)
    for (int64_t i = 0; i < kPeakFloats; ++i) x[i] = static_cast<float>(static_cast<double>(x[i]) * a + b);
}

void PeakI8(int32_t* sums, int64_t rounds, int32_t codes) {
  for (int64_t round = 0; round < rounds; ++round)
    for (int64_t i = 0; i < kPeakFloats; ++i) {
      const auto x = std::bit_cast<std::array<int8_t, 4>>(sums[i]), code = std::bit_cast<std::array<int8_t, 4>>(codes);
      for (size_t j = 0; j < 4; ++j) sums[i] += code[j] * x[j];
    }
}

float PeakRead(const float* x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return static_cast<float>(sum);
}

void Hadamard(float* x, int64_t n) {
  for (int64_t half = 1; half < n; half *= 2)
    for (int64_t i = 0; i < n; i += 2 * half)
      for (int64_t j = i; j < i + half; ++j) {
        const float a = x[j], b = x[j + half];
        x[j] = a + b;
        x[j + half] = a - b;
      }
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(n)));
  for (int64_t i = 0; i < n; ++i) x[i] *= scale;
}

float RoundUpToPowerOfTwo(float x) {  // x normal and positive, or infinite
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return std::bit_cast<float>((bits + 0x007FFFFFu) & 0x7F800000u);
}

void QuantizeE4M3(const float* x, int64_t n, bool ue8m0, uint8_t* codes, float* scales) {
  for (int64_t begin = 0; begin < n; begin += 128) {
    const int64_t end = std::min(begin + 128, n);
    float largest = 1e-4f;
    for (int64_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(x[i]));
    float scale = largest / 448.0f;
    if (ue8m0) scale = RoundUpToPowerOfTwo(scale);
    for (int64_t i = begin; i < end; ++i) codes[i] = FloatToE4M3(x[i] / scale);
    scales[begin / 128] = scale;
  }
}

void IndexScoresE4M3(const uint8_t* q_codes, const float* weights, int64_t heads, int64_t dim, const uint8_t* key_codes,
                     const float* key_scales, int64_t count, float* scores) {
  for (int64_t s = 0; s < count; ++s) {
    double sum = 0;
    for (int64_t j = 0; j < heads; ++j) {
      double dot = 0;
      for (int64_t d = 0; d < dim; ++d)
        dot += double{E4M3ToFloat(q_codes[j * dim + d])} * E4M3ToFloat(key_codes[s * dim + d]);
      sum += weights[j] * Relu(dot);
    }
    scores[s] = static_cast<float>(key_scales[s] * sum);
  }
}

// ---- attention ------------------------------------------------------------------------------------------

constexpr int64_t kColumns = 256;  // output columns that are summed in one pass over the rows

// The latent part of a query as kInt8 has it: 8 bits in groups of 128.
double RoundedQuery(const float* q, int64_t rc, int64_t i) {
  const int64_t begin = i / kScaleGroup * kScaleGroup, end = std::min(begin + kScaleGroup, rc);
  float largest = 0, not_finite = 0;
  for (int64_t j = begin; j < end; ++j) {
    largest = std::max(largest, std::fabs(q[j]));
    not_finite += q[j] * 0.0f;
  }
  if (!(largest >= 0x1p-100f)) return not_finite;
  const float shift = 0x1.8p23f;
  const float code = std::fma(q[i], 127.0f / largest, shift) - shift;
  return double{code} * double{largest / 127.0f + not_finite};
}

void AttendLatent(const float* q, int64_t heads, int64_t rc, int64_t dr, const PagedRows& rows,
                  const int32_t* positions, int64_t count, float scale, float* o, float* /*scratch*/) {
  const auto value = [&](int64_t i, int64_t c) { return RowElement(rows, positions ? positions[i] : i, rc, dr, c); };
  for (int64_t h = 0; h < heads; ++h) {
    const float* q_h = q + h * (rc + dr);
    const auto score = [&](int64_t i) {
      double sum = 0;
      for (int64_t c = 0; c < rc + dr; ++c)
        sum += (rows.format == RowFormat::kInt8 && c < rc ? RoundedQuery(q_h, rc, c) : double{q_h[c]}) * value(i, c);
      return scale * sum;
    };
    double m = -std::numeric_limits<double>::infinity(), l = 0;
    for (int64_t i = 0; i < count; ++i) m = std::max(m, score(i));
    for (int64_t i = 0; i < count; ++i) l += std::exp(score(i) - m);
    for (int64_t begin = 0; begin < rc; begin += kColumns) {
      const int64_t end = std::min(begin + kColumns, rc);
      double sum[kColumns] = {};
      for (int64_t i = 0; i < count; ++i) {
        const double p = std::exp(score(i) - m) / l;
        for (int64_t c = begin; c < end; ++c) sum[c - begin] += p * value(i, c);
      }
      for (int64_t c = begin; c < end; ++c) o[h * rc + c] = static_cast<float>(sum[c - begin]);
    }
  }
}

void AttendExpanded(const float* q, const float* k, int64_t k_stride, const float* v, int64_t v_stride, int64_t count,
                    int64_t dk, int64_t dv, float scale, float* m, float* l, float* o) {
  if (count <= 0) return;
  const auto score = [&](int64_t i) { return scale * Dot(q, k + i * k_stride, dk); };
  double largest = *m;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, score(i));
  largest = static_cast<float>(largest);  // what the next tile will see
  const double decay = std::exp(*m - largest);
  double total = *l * decay;
  for (int64_t i = 0; i < count; ++i) total += std::exp(score(i) - largest);
  for (int64_t begin = 0; begin < dv; begin += kColumns) {
    const int64_t end = std::min(begin + kColumns, dv);
    double sum[kColumns];
    for (int64_t c = begin; c < end; ++c) sum[c - begin] = o[c] * decay;
    for (int64_t i = 0; i < count; ++i) {
      const double p = std::exp(score(i) - largest);
      for (int64_t c = begin; c < end; ++c) sum[c - begin] += p * v[i * v_stride + c];
    }
    for (int64_t c = begin; c < end; ++c) o[c] = static_cast<float>(sum[c - begin]);
  }
  *m = static_cast<float>(largest);
  *l = static_cast<float>(total);
}

// ---- elementwise and reductions ----------------------------------------------------------------------------

void Axpy(float a, const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = std::fma(a, x[i], y[i]);
}

void SigmoidInPlace(float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(Sigmoid(x[i]));
}

float Largest(const float* x, int64_t n) {  // NaN never wins
  float m = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i) m = std::max(m, x[i]);
  return m;
}

double SumExp(const float* x, int64_t n, double m) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - m);
  return sum;
}

void Softmax(float* x, int64_t n) {
  const double m = Largest(x, n), sum = SumExp(x, n, m);
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(std::exp(x[i] - m) / sum);
}

float LogSumExp(const float* x, int64_t n) {
  const float m = Largest(x, n);
  if (m == -std::numeric_limits<float>::infinity()) {  // nothing, only minus infinities, or NaN
    for (int64_t i = 0; i < n; ++i)
      if (std::isnan(x[i])) return x[i];
    return m;
  }
  return static_cast<float>(m + std::log(SumExp(x, n, m)));
}

int64_t ArgMax(const float* x, int64_t n) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; ++i)
    if (x[i] > x[best] || (std::isnan(x[best]) && !std::isnan(x[i]))) best = i;
  return best;
}

// ---- backward ------------------------------------------------------------------------------------------------

void MatMulGradWeight(const float* dy, int64_t dy_stride, const float* x, int64_t x_stride, int64_t rows, int64_t cols,
                      int64_t n_begin, int64_t n_end, float* dw, int64_t dw_stride) {
  plain::AddProduct(
      n_end - n_begin, cols, rows, [&](int64_t n, int64_t t) { return dy[t * dy_stride + n_begin + n]; },
      [&](int64_t t, int64_t c) { return x[t * x_stride + c]; }, dw + n_begin * dw_stride, dw_stride);
}

void MatMulGradInput(const float* dy, int64_t dy_stride, int64_t rows, const WeightView& w, int64_t c_begin,
                     int64_t c_end, float* dx, int64_t dx_stride) {
  plain::AddProduct(
      rows, c_end - c_begin, w.rows, [&](int64_t t, int64_t n) { return dy[t * dy_stride + n]; },
      [&](int64_t n, int64_t c) { return Weight(w, n, c_begin + c); }, dx, dx_stride);
}

void AttendLatentGrad(const float* q, const float* o, const float* d_o, int64_t heads, int64_t rc, int64_t dr,
                      const PagedRows& rows, const int32_t* positions, int64_t count, float scale, float* dq,
                      float* d_rows, float* p_sum, float* /*scratch*/) {
  const auto position = [&](int64_t i) { return positions ? positions[i] : i; };
  plain::AttendLatentGrad(
      plain::LatentShape{heads, rc, dr, count, scale}, q, o, d_o,
      [&](int64_t i) { return const_cast<const float*>(rows.row(position(i))); }, dq,
      [&](int64_t i) { return d_rows + position(i) * (rc + dr); }, p_sum);
}

float IndexKlGrad(const float* q, const float* weights, int64_t heads, int64_t dim, const PagedRows& keys,
                  const int32_t* positions, int64_t count, const float* p, float weight, float* dq, float* dweights,
                  float* dkeys, float* /*scratch*/) {
  const plain::IndexShape shape = {heads, dim, count};
  const auto position = [&](int64_t i) { return positions ? positions[i] : i; };
  const auto key = [&](int64_t i) { return const_cast<const float*>(keys.row(position(i))); };
  plain::IndexKlGrad(shape, q, weights, key, p, weight, dq, dweights,
                     [&](int64_t i) { return dkeys + position(i) * dim; });
  return static_cast<float>(plain::IndexKl(shape, q, weights, key, p));
}

float CrossEntropyGrad(float* logits, int64_t n, int64_t target, float weight) {
  const float result = logits[target] - LogSumExp(logits, n);
  plain::CrossEntropyGrad(logits, n, target, weight);
  return result;
}

void AdamW(float* p, const float* g, float* m, float* v, int64_t n, const AdamWStep& step) {
  for (int64_t i = 0; i < n; ++i) {
    const double gradient = double{g[i]} * step.grad_scale;
    const double mean = step.beta1 * double{m[i]} + (1.0 - step.beta1) * gradient;
    const double square = step.beta2 * double{v[i]} + (1.0 - step.beta2) * gradient * gradient;
    m[i] = static_cast<float>(mean);
    v[i] = static_cast<float>(square);
    const double update = mean / step.c1 / (std::sqrt(square / step.c2) + step.eps) + double{step.decay} * p[i];
    p[i] = static_cast<float>(p[i] - step.lr * update);
  }
}

double SumSquares(const float* x, int64_t n) { return Dot(x, x, n); }

bool Always() { return true; }

}  // namespace

extern const KernelSet kReferenceKernels = {
    .name = "reference",
    .description = "plain loops with double sums; slow, the specification of the others",
    .supported = Always,
    .matmul = MatMul,
    .quantize_x = QuantizeX,
    .matmul_tiles = MatMulTiles,
    .matmul_transposed = MatMulTransposed,
    .dequantize_row = DequantizeRow,
    .rms_norm = plain::RmsNorm<float>,
    .layer_norm = plain::LayerNorm<float>,
    .rope_interleaved = RopeInterleaved,
    .rope_half_split = RopeHalfSplit,
    .index_scores = IndexScores,
    .quantize_i8 = QuantizeI8,
    .index_scores_i8 = IndexScoresI8,
    .top_k = TopK,
    .attend_latent = AttendLatent,
    .attend_expanded = AttendExpanded,
    .silu_mul = plain::SiluMul<float>,
    .axpy = Axpy,
    .softmax = Softmax,
    .sigmoid = SigmoidInPlace,
    .log_sum_exp = LogSumExp,
    .argmax = ArgMax,
    .peak_f32 = PeakF32,
    .peak_i8 = PeakI8,
    .peak_read = PeakRead,
    .hadamard = Hadamard,
    .quantize_e4m3 = QuantizeE4M3,
    .index_scores_e4m3 = IndexScoresE4M3,
    .matmul_grad_weight = MatMulGradWeight,
    .matmul_grad_input = MatMulGradInput,
    .rms_norm_grad = plain::RmsNormGrad<float>,
    .layer_norm_grad = plain::LayerNormGrad<float>,
    .silu_mul_grad = plain::SiluMulGrad<float>,
    .attend_latent_grad = AttendLatentGrad,
    .index_kl_grad = IndexKlGrad,
    .cross_entropy_grad = CrossEntropyGrad,
    .adamw = AdamW,
    .sum_squares = SumSquares,
};

}  // namespace minke
