// One row per implementation: the same operations, compiled for one instruction set. Tests, benches and
// MINKE_ISA=NAME walk AllKernelSets(); "reference" is the specification (plain loops, double sums).
//
// Contract of every entry: an output element depends on its own row of inputs alone, by one fixed order of
// operations. So any split over rows, output columns, heads or threads gives the same bits. All sets but
// "reference" sum in kLanes virtual lanes with fused multiply-adds and one fixed reduction tree, so they agree with
// each other bit for bit where the CPU has FMA, on x86 and Arm alike (same_bits_test.cc). The order of each entry is
// written in its body (body/*.inc), its bound beside its test. No entry allocates. Floats lie at multiples of 4
// bytes, weights anywhere. NaN goes in and comes out; nothing depends on its bits.
#pragma once

#include <cstdint>

#include "minke/kernels/paged_rows.h"
#include "minke/tensor/weight_view.h"

namespace minke {

// One step of AdamW with decoupled weight decay. c1 = 1 - beta1^t and c2 = 1 - beta2^t correct the bias of step t = 1,
// 2, ...
struct AdamWStep {
  float lr, beta1, beta2, eps, decay, c1, c2;
  float grad_scale;  // what gradients are multiplied with before anything else
};

struct KernelSet {
  const char* name;
  const char* description;  // flags in words, for `minke doctor`
  bool (*supported)();      // by CPU and operating system

  // y[m, n - n_begin] = dot(x[m, :], W[n, :]) for n in [n_begin, n_end); x and y have strides, y's column 0 is W's row
  // n_begin.
  void (*matmul)(const float* x, int64_t x_stride, int64_t rows, const WeightView& w, int64_t n_begin, int64_t n_end,
                 float* y, int64_t y_stride);
  // The same on weights in tiles (tensor/tile.h), which `matmul` does not take: x is quantised first, and several
  // products may share it. x_stride counts TileX.
  void (*quantize_x)(const float* x, int64_t n, TileX* out);  // out [ceil(n / 32)]
  void (*matmul_tiles)(const TileX* x, int64_t x_stride, int64_t rows, const WeightView& w, int64_t n_begin,
                       int64_t n_end, float* y, int64_t y_stride);
  // y[m, c - c_begin] = sum_r x[m, r] * W[r, c] for c in [c_begin, c_end), r ascending: x W, which absorbs kv_b_proj
  // into the query.
  void (*matmul_transposed)(const float* x, int64_t x_stride, int64_t rows, const WeightView& w, int64_t c_begin,
                            int64_t c_end, float* y, int64_t y_stride);
  // One row of W as F32: the embedding lookup.
  void (*dequantize_row)(const WeightView& w, int64_t row, float* y);

  // y = x / sqrt(mean(x^2) + eps) * weight; y may be x.
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps, float* y);
  // y = (x - mean) / sqrt(var + eps) * weight + bias, biased variance; y may be x.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, int64_t n, float eps, float* y);
  // In place on one head: x[n], cos and sin [n / 2]. (a, b) -> (a cos - b sin, a sin + b cos).
  void (*rope_interleaved)(float* x, const float* cos, const float* sin, int64_t n);  // pair j: 2j, 2j + 1
  void (*rope_half_split)(float* x, const float* cos, const float* sin, int64_t n);   // pair j: j, j + n / 2

  // scores[s - s_begin] = sum_j weights[j] * max(0, q[j] . key[s]) for s in [s_begin, s_end); q [heads, dim]. Heads
  // are added in the order of body/indexer.inc. A score is NaN where the key or the query is. Keys of any format but
  // kInt8; dim is at most 2048 but for kF32.
  void (*index_scores)(const float* q, const float* weights, int64_t heads, int64_t dim, const PagedRows& keys,
                       int64_t s_begin, int64_t s_end, float* scores);
  // The same on 8-bit keys. A row of n values: codes[i] = 128 + x[i] / scale rounded, scale = largest |x| / 127; NaN
  // unless all are finite.
  void (*quantize_i8)(const float* x, int64_t n, uint8_t* codes, float* scale);
  // scores[s - s_begin] = key_scale * sum_j weights[j] * max(0, q[j] . key[s]) in codes less 128; weights are already
  // times the query's scales. A row of `keys` (width dim / 4 + 1) is dim codes and an F32 scale; dim is a multiple of
  // 4, at most 2048.
  void (*index_scores_i8)(const uint8_t* q_codes, const float* weights, int64_t heads, int64_t dim,
                          const PagedRows& keys, int64_t s_begin, int64_t s_end, float* scores);
  // Positions of the k largest of scores[0, n), ascending in `selected`; returns how many (min(k, n)). Ties go to the
  // lower position, -0 equals +0, NaN is lowest. Linear in n.
  int64_t (*top_k)(const float* scores, int64_t n, int64_t k, int32_t* selected);

  // Absorbed MLA for heads [0, heads) of one query: q [heads, rc + dr] (latent part, then RoPE part); rows are
  // (c, k_pe), rc numbers and dr exact ones, of any format. positions[count] ascending, or nullptr for 0 .. count - 1.
  // o [heads, rc] = sum of c weighted by softmax(scale * q . row), zeros if count is 0. Blocks of rows in order,
  // running maximum. On rows of kInt8 the latent part of q is rounded to 8 bits too, in groups of 128, and the weights
  // to 14. scratch: AttendLatentScratch floats.
  void (*attend_latent)(const float* q, int64_t heads, int64_t rc, int64_t dr, const PagedRows& rows,
                        const int32_t* positions, int64_t count, float scale, float* o, float* scratch);

  // Expanded MLA, one tile of keys for one head of one query, state carried from tile to tile: with k [count, k_stride]
  // and v [count, v_stride] updates running maximum *m, sum *l and unnormalised o [dv]. Start with m = -inf, l = 0,
  // o = 0; divide by l at the end. Tiles of any multiple of kRowBlock rows give the same bits.
  void (*attend_expanded)(const float* q, const float* k, int64_t k_stride, const float* v, int64_t v_stride,
                          int64_t count, int64_t dk, int64_t dv, float scale, float* m, float* l, float* o);

  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* y);  // silu(gate) * up; y may be gate
  void (*axpy)(float a, const float* x, int64_t n, float* y);                 // y += a * x, fused
  void (*softmax)(float* x, int64_t n);                                       // in place, maximum subtracted
  void (*sigmoid)(float* x, int64_t n);                                       // in place
  float (*log_sum_exp)(const float* x, int64_t n);                            // for logprobs
  int64_t (*argmax)(const float* x, int64_t n);                               // lowest index on ties; NaN never wins

  // x = x * a + b, `rounds` times, in registers: what this set can compute while memory does not hold it up. x
  // [kPeakFloats]; 2 * kPeakFloats * rounds FLOP.
  void (*peak_f32)(float* x, int64_t rounds, float a, float b);
  // The same for products of bytes, as in matmul_tiles: sums[i] += the four bytes of `codes`, 0 .. 63, times the four
  // of sums[i] itself, which are signed. sums [kPeakFloats]; 8 * kPeakFloats * rounds operations.
  void (*peak_i8)(int32_t* sums, int64_t rounds, int32_t codes);
  // The sum of x[n], in any order: what this set can read while arithmetic does not hold it up.
  float (*peak_read)(const float* x, int64_t n);

  // The three steps of the official FP8 index path, with their golden test (golden_test.cc). The forward pass scores in
  // F32, or on 8-bit integers above.
  void (*hadamard)(float* x, int64_t n);  // in place, Sylvester order, times n^(-1/2); n a power of two
  // One row of 128-wide groups: codes e4m3(x / scale), scale = max(|x|, 1e-4) / 448, rounded up to a power of two if
  // ue8m0. scales [n / 128].
  void (*quantize_e4m3)(const float* x, int64_t n, bool ue8m0, uint8_t* codes, float* scales);
  // The FP8 form of index_scores on contiguous keys: scores[s] =
  // key_scales[s] * sum_j weights[j] * max(0, q_codes[j] . key_codes[s]), weights already times the query scales.
  void (*index_scores_e4m3)(const uint8_t* q_codes, const float* weights, int64_t heads, int64_t dim,
                            const uint8_t* key_codes, const float* key_scales, int64_t count, float* scores);

  // ---- Backward, for training: F32 only; dY is the derivative of the loss by Y, and "+=" adds to what is there.

  // dw[n, :] += sum_t dy[t, n] * x[t, :] for n in [n_begin, n_end), t ascending from what dw holds. dw's row 0 is
  // n = 0; x and dw have `cols` columns.
  void (*matmul_grad_weight)(const float* dy, int64_t dy_stride, const float* x, int64_t x_stride, int64_t rows,
                             int64_t cols, int64_t n_begin, int64_t n_end, float* dw, int64_t dw_stride);
  // dx[t, c - c_begin] += sum_n dy[t, n] * W[n, c] for c in [c_begin, c_end), n ascending from what dx holds; W in kF32
  // or kBF16. (matmul_transposed overwrites and takes every format.)
  void (*matmul_grad_input)(const float* dy, int64_t dy_stride, int64_t rows, const WeightView& w, int64_t c_begin,
                            int64_t c_end, float* dx, int64_t dx_stride);
  // dx +=, dweight +=; x is what rms_norm took.
  void (*rms_norm_grad)(const float* x, const float* weight, const float* dy, int64_t n, float eps, float* dx,
                        float* dweight);
  // dx +=, dweight +=, dbias +=.
  void (*layer_norm_grad)(const float* x, const float* weight, const float* dy, int64_t n, float eps, float* dx,
                          float* dweight, float* dbias);
  // h = silu(gate) * up, with the bits of silu_mul; writes dgate, dup and h. dgate may be gate, dup may be up, h may be
  // dh.
  void (*silu_mul_grad)(const float* gate, const float* up, const float* dh, int64_t n, float* dgate, float* dup,
                        float* h);
  // One query of attend_latent on rows of kF32: q [heads, rc + dr], o (its result) and d_o [heads, rc]. Writes dq
  // [heads, rc + dr]; d_rows[position * (rc + dr) + i] +=, contiguous rows from position 0; p_sum[i], unless it is
  // null, is the probability of the i-th position summed over heads and divided by their number. With d_o null only
  // p_sum is made, and o, dq and d_rows may be null. positions as in attend_latent. scratch: AttendLatentGradScratch
  // floats.
  void (*attend_latent_grad)(const float* q, const float* o, const float* d_o, int64_t heads, int64_t rc, int64_t dr,
                             const PagedRows& rows, const int32_t* positions, int64_t count, float scale, float* dq,
                             float* d_rows, float* p_sum, float* scratch);
  // The indexer's loss for one query: KL(p || softmax(I)) over the positions, with I as index_scores gives it on keys
  // of kF32; p [count] sums to 1, and where it is 0 a term counts 0. Returns the loss, not weighted; 0 if count is 0.
  // Writes dq [heads, dim] and dweights [heads], adds to dkeys[position * dim + i], all times `weight`. scratch:
  // IndexGradScratch floats.
  float (*index_kl_grad)(const float* q, const float* weights, int64_t heads, int64_t dim, const PagedRows& keys,
                         const int32_t* positions, int64_t count, const float* p, float weight, float* dq,
                         float* dweights, float* dkeys, float* scratch);
  // In place: logits become (softmax(logits) - onehot(target)) * weight. Returns log softmax(logits)[target], the bits
  // of logits[target] - log_sum_exp(logits).
  float (*cross_entropy_grad)(float* logits, int64_t n, int64_t target, float weight);
  // With g' = g * grad_scale: m = beta1 m + (1 - beta1) g', v = beta2 v + (1 - beta2) g'^2,
  // p -= lr * (m / c1 / (sqrt(v / c2) + eps) + decay * p).
  void (*adamw)(float* p, const float* g, float* m, float* v, int64_t n, const AdamWStep& step);
  // The sum of x^2, by one order of operations; NaN in, NaN out.
  double (*sum_squares)(const float* x, int64_t n);
};

inline constexpr int64_t kLanes = 16;
inline constexpr int64_t kPeakFloats = 192;
inline constexpr int64_t kRowBlock = 64;     // rows of one softmax step
inline constexpr int64_t kRowBlockI8 = 128;  // on rows of 8-bit codes
// Per head: the probabilities of one block, the running maximum, the running sum and the decay of the block; and the
// block's rows where they are decoded first. For kInt8 see LatentI8 (body/attention_i8.inc).
constexpr int64_t AttendLatentScratch(RowFormat format, int64_t heads, int64_t rc, int64_t dr) {
  if (format == RowFormat::kInt8) {
    const int64_t stride = (heads + kLanes - 1) / kLanes * kLanes, columns = (rc + 3) / 4 * 4;
    const int64_t groups = (rc + kScaleGroup - 1) / kScaleGroup;
    return stride * (columns + columns / 4 + 2 * groups + dr + 3 * kRowBlockI8 / 2 + 6) +
           kRowBlockI8 * (groups + dr + 16);
  }
  return heads * (kRowBlock + 3) + (format == RowFormat::kF32 ? 0 : kRowBlock * (rc + dr));
}
// One block of rows turned, two numbers for each head and position of whole blocks, and two rows for each head.
constexpr int64_t AttendLatentGradScratch(int64_t heads, int64_t rc, int64_t dr, int64_t count) {
  return kRowBlock * (rc + dr + 2 * heads * ((count + kRowBlock - 1) / kRowBlock)) + 2 * heads * (rc + dr);
}
// One block of keys turned, and a number for each position of whole blocks and for each of its heads.
constexpr int64_t IndexGradScratch(int64_t heads, int64_t dim, int64_t count) {
  return kRowBlock * (dim + (heads + 1) * ((count + kRowBlock - 1) / kRowBlock));
}

}  // namespace minke
