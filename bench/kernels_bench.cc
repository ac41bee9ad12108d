// Every hot kernel on every set that runs here, one thread, beside what the same run measured the machine can do:
// `share` is GFLOP/s over the peak of the set's own vector width, or GB/s over the memory's (inputs that exceed
// the last cache) or, for rows in the first-level cache, absent.
//
//   minke_kernels_bench --benchmark_filter=index_scores
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/available_memory.h"
#include "minke/base/rng.h"
#include "minke/cli/peaks.h"
#include "minke/kernels/kernel_set.h"

namespace minke {
namespace {

ThreadPool& OneThread() {
  static ThreadPool pool(1);
  return pool;
}

// Of the set's own vector width.
double PeakOf(const KernelSet& set) {
  static std::map<std::string_view, double> peaks;
  const auto [peak, is_new] = peaks.try_emplace(set.name);
  if (is_new) peak->second = MeasureF32Peak(set, OneThread());
  return peak->second;
}

double PeakInt8Of(const KernelSet& set) {
  static std::map<std::string_view, double> peaks;
  const auto [peak, is_new] = peaks.try_emplace(set.name);
  if (is_new) peak->second = MeasureI8Peak(set, OneThread());
  return peak->second;
}

double MemoryBandwidth() {
  static const double bandwidth = MeasureMemoryBandwidth(OneThread(), AvailableMemoryBytes());
  return bandwidth;
}

std::vector<float> RandomFloats(int64_t n) {
  const Philox philox(1, 0);
  std::vector<float> x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(2 * philox.Uniform(i % 65536) - 1);
  return x;
}

struct Weights {
  std::vector<uint8_t> bytes;
  std::vector<float> scales;
  WeightView view;
};

Weights MakeWeights(DType dtype, int64_t rows, int64_t cols) {
  Weights w;
  if (IsBlocked(dtype)) {
    w.bytes.assign(static_cast<size_t>(rows * RowBytes(dtype, cols)), 0x21);  // an F16 of 0x2121 is 0.01
    w.view = {.dtype = dtype, .data = w.bytes.data(), .rows = rows, .cols = cols};
    return w;
  }
  w.bytes.resize(static_cast<size_t>(rows * cols * ElementBytes(dtype)));
  const std::vector<float> values = RandomFloats(8192);
  for (int64_t i = 0; i < rows * cols; ++i) {
    const float value = values[static_cast<size_t>(i % 8192)];
    const uint16_t bf16 = FloatToBF16(value), f16 = static_cast<uint16_t>(0x3000 + i % 0x0A00);
    const uint8_t e4m3 = static_cast<uint8_t>(0x20 + i % 0x20);
    const void* from = dtype == DType::kF32    ? static_cast<const void*>(&value)
                       : dtype == DType::kBF16 ? static_cast<const void*>(&bf16)
                       : dtype == DType::kF16  ? static_cast<const void*>(&f16)
                                               : &e4m3;
    std::memcpy(w.bytes.data() + i * ElementBytes(dtype), from, static_cast<size_t>(ElementBytes(dtype)));
  }
  w.scales.assign(static_cast<size_t>((rows + 127) / 128 * ((cols + 127) / 128)), 0.5f);
  w.view = {.dtype = dtype,
            .data = w.bytes.data(),
            .rows = rows,
            .cols = cols,
            .scales = w.scales.data(),
            .block_rows = 128,
            .block_cols = 128};
  return w;
}

void Report(benchmark::State& state, double flop, double bytes, double peak_flops, double peak_bytes) {
  using benchmark::Counter;
  const double n = static_cast<double>(state.iterations());
  if (flop > 0) state.counters["GFLOP/s"] = Counter(flop * n * 1e-9, Counter::kIsRate);
  if (bytes > 0) state.counters["GB/s"] = Counter(bytes * n * 1e-9, Counter::kIsRate);
  if (peak_flops > 0) state.counters["share"] = Counter(flop * n / peak_flops, Counter::kIsRate);
  if (peak_bytes > 0) state.counters["share"] = Counter(bytes * n / peak_bytes, Counter::kIsRate);
}

void MatMul(benchmark::State& state, const KernelSet& set, DType dtype, int64_t rows, int64_t n, int64_t k) {
  const Weights w = MakeWeights(dtype, n, k);
  const std::vector<float> x = RandomFloats(rows * k);
  std::vector<float> y(static_cast<size_t>(rows * n));
  for (auto _ : state) set.matmul(x.data(), k, rows, w.view, 0, n, y.data(), n);
  const double flop = 2.0 * static_cast<double>(rows * n * k), bytes = static_cast<double>(w.bytes.size());
  Report(state, flop, rows == 1 ? bytes : 0, rows == 1 ? 0 : PeakOf(set),
         rows == 1 && bytes > 48e6 ? MemoryBandwidth() : 0);
}

void MatMulTransposed(benchmark::State& state, const KernelSet& set, DType dtype, int64_t rows) {
  const Weights w = MakeWeights(dtype, 128, 512);
  const std::vector<float> x = RandomFloats(rows * 128);
  std::vector<float> y(static_cast<size_t>(rows * 512));
  for (auto _ : state) set.matmul_transposed(x.data(), 128, rows, w.view, 0, 512, y.data(), 512);
  Report(state, 2.0 * static_cast<double>(rows) * 128 * 512, 0, PeakOf(set), 0);
}

// Tiles of any bytes but for the scales of Q8, which must not be subnormal.
void MatMulTiles(benchmark::State& state, const KernelSet& set, DType dtype, int64_t rows, int64_t n, int64_t k) {
  std::vector<uint8_t> bytes(static_cast<size_t>(RowTiles(n) * ColTiles(k) * TileBytes(dtype)));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 >> 3 & 0x3F);
  if (dtype == DType::kQ8)
    for (size_t i = 0; i < bytes.size(); i += static_cast<size_t>(TileBytes(dtype)))
      for (size_t j = 0; j < 32; j += 2) bytes[i + static_cast<size_t>(TileCodeBytes(dtype)) + j + 1] = 0x3C;
  const std::vector<float> row_scales(static_cast<size_t>(RowTiles(n) * kRowScalesOfTile), 1e-6f);
  const WeightView w = {.dtype = dtype, .data = bytes.data(), .rows = n, .cols = k, .scales = row_scales.data()};
  const std::vector<float> x = RandomFloats(rows * k);
  std::vector<TileX> codes(static_cast<size_t>(rows * ColTiles(k)));
  for (int64_t m = 0; m < rows; ++m) set.quantize_x(x.data() + m * k, k, codes.data() + m * ColTiles(k));
  std::vector<float> y(static_cast<size_t>(rows * n));
  for (auto _ : state) set.matmul_tiles(codes.data(), ColTiles(k), rows, w, 0, n, y.data(), n);
  const double flop = 2.0 * static_cast<double>(rows * n * k), read = static_cast<double>(bytes.size());
  Report(state, flop, rows == 1 ? read : 0, rows == 1 ? 0 : PeakInt8Of(set),
         rows == 1 && read > 33e6 ? MemoryBandwidth() : 0);
}

// A cache of `count` rows on pages of 64.
struct Cache {
  std::vector<float> values;
  std::vector<float*> pages;
  PagedRows rows;
  Cache(int64_t count, int64_t width) : values(RandomFloats(count * width)) {
    for (int64_t i = 0; i < count; i += 64) pages.push_back(values.data() + i * width);
    rows = {.pages = pages.data(), .offset = 0, .width = width, .page_tokens = 64};
  }
};

void IndexScores(benchmark::State& state, const KernelSet& set, int64_t heads, int64_t keys) {
  const Cache cache(keys, 128);
  const std::vector<float> q = RandomFloats(heads * 128), weights = RandomFloats(heads);
  std::vector<float> scores(static_cast<size_t>(keys));
  for (auto _ : state) set.index_scores(q.data(), weights.data(), heads, 128, cache.rows, 0, keys, scores.data());
  Report(state, static_cast<double>(2 * heads * 129 * keys), 0, PeakOf(set), 0);
}

void IndexScoresE4M3(benchmark::State& state, const KernelSet& set, int64_t heads, int64_t keys) {
  const std::vector<uint8_t> q(static_cast<size_t>(heads * 128), 0x31), codes(static_cast<size_t>(keys * 128), 0x2A);
  const std::vector<float> weights = RandomFloats(heads), scales = RandomFloats(keys);
  std::vector<float> scores(static_cast<size_t>(keys));
  for (auto _ : state)
    set.index_scores_e4m3(q.data(), weights.data(), heads, 128, codes.data(), scales.data(), keys, scores.data());
  Report(state, static_cast<double>(2 * heads * 129 * keys), 0, PeakOf(set), 0);
}

void IndexScoresI8(benchmark::State& state, const KernelSet& set, int64_t heads, int64_t keys) {
  Cache cache(keys, RowFloats(RowFormat::kInt8, 128, 0));
  cache.rows.format = RowFormat::kInt8;
  const std::vector<uint8_t> q(static_cast<size_t>(heads * 128), 0x31);
  const std::vector<float> weights = RandomFloats(heads);
  std::vector<float> scores(static_cast<size_t>(keys));
  for (auto _ : state) set.index_scores_i8(q.data(), weights.data(), heads, 128, cache.rows, 0, keys, scores.data());
  Report(state, static_cast<double>(2 * heads * 128 * keys), 0, PeakInt8Of(set), 0);
}

void AttendLatent(benchmark::State& state, const KernelSet& set, RowFormat format, int64_t heads, int64_t count,
                  int64_t context) {
  constexpr int64_t kRank = 512, kRope = 64;
  Cache cache(context, RowFloats(format, kRank, kRope));
  cache.rows.format = format;
  const std::vector<float> q = RandomFloats(heads * (kRank + kRope));
  std::vector<int32_t> positions(static_cast<size_t>(count));
  const Philox philox(3, 0);
  for (size_t i = 0; i < positions.size(); ++i)  // one in each stretch of context / count
    positions[i] =
        static_cast<int32_t>(static_cast<double>(context / count) * (static_cast<double>(i) + philox.Uniform(i)));
  std::vector<float> o(static_cast<size_t>(heads * kRank)),
      scratch(static_cast<size_t>(AttendLatentScratch(format, heads, kRank, kRope)));
  for (auto _ : state)
    set.attend_latent(q.data(), heads, kRank, kRope, cache.rows, positions.data(), count, 0.1f, o.data(),
                      scratch.data());
  Report(state, 2.0 * static_cast<double>(heads * count * (2 * kRank + kRope)), 0,
         format == RowFormat::kInt8 ? PeakInt8Of(set) : PeakOf(set), 0);
}

void AttendExpanded(benchmark::State& state, const KernelSet& set, int64_t count) {
  const std::vector<float> q = RandomFloats(192), k = RandomFloats(count * 192), v = RandomFloats(count * 128);
  std::vector<float> o(128);
  for (auto _ : state) {
    float m = -1e30f, l = 0;
    set.attend_expanded(q.data(), k.data(), 192, v.data(), 128, count, 192, 128, 0.1f, &m, &l, o.data());
  }
  Report(state, 2.0 * static_cast<double>(count * (192 + 128)), 0, PeakOf(set), 0);
}

void TopK(benchmark::State& state, const KernelSet& set, int64_t n) {
  const std::vector<float> scores = RandomFloats(n);
  std::vector<int32_t> selected(2048);
  for (auto _ : state) set.top_k(scores.data(), n, 2048, selected.data());
  state.counters["ns/score"] = benchmark::Counter(static_cast<double>(n * state.iterations()) * 1e-9,
                                                  benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

// rows of dy [rows, n] and of x or dx [rows, cols]: both products of a linear layer's backward pass.
struct LinearShape {
  int64_t rows, cols, n;
};

void MatMulGradWeight(benchmark::State& state, const KernelSet& set, LinearShape s) {
  const std::vector<float> dy = RandomFloats(s.rows * s.n), x = RandomFloats(s.rows * s.cols);
  std::vector<float> dw(static_cast<size_t>(s.n * s.cols));
  for (auto _ : state)
    set.matmul_grad_weight(dy.data(), s.n, x.data(), s.cols, s.rows, s.cols, 0, s.n, dw.data(), s.cols);
  Report(state, 2.0 * static_cast<double>(s.rows * s.cols * s.n), 0, PeakOf(set), 0);
}

void MatMulGradInput(benchmark::State& state, const KernelSet& set, LinearShape s) {
  const Weights w = MakeWeights(DType::kF32, s.n, s.cols);
  const std::vector<float> dy = RandomFloats(s.rows * s.n);
  std::vector<float> dx(static_cast<size_t>(s.rows * s.cols));
  for (auto _ : state) set.matmul_grad_input(dy.data(), s.n, s.rows, w.view, 0, s.cols, dx.data(), s.cols);
  Report(state, 2.0 * static_cast<double>(s.rows * s.cols * s.n), 0, PeakOf(set), 0);
}

void AttendLatentGrad(benchmark::State& state, const KernelSet& set, int64_t heads, int64_t rc, int64_t count) {
  constexpr int64_t kRope = 16;
  const int64_t width = rc + kRope;
  const Cache cache(count, width);
  const std::vector<float> q = RandomFloats(heads * width), o = RandomFloats(heads * rc),
                           d_o = RandomFloats(heads * rc);
  std::vector<float> dq(q.size()), d_rows(static_cast<size_t>(count * width)), p(static_cast<size_t>(count)),
      scratch(static_cast<size_t>(AttendLatentGradScratch(heads, rc, kRope, count)));
  for (auto _ : state)
    set.attend_latent_grad(q.data(), o.data(), d_o.data(), heads, rc, kRope, cache.rows, nullptr, count, 0.1f,
                           dq.data(), d_rows.data(), p.data(), scratch.data());
  Report(state, 2.0 * static_cast<double>(heads * count * (3 * width + 2 * rc)), 0, PeakOf(set), 0);
}

void IndexKlGrad(benchmark::State& state, const KernelSet& set, int64_t heads, int64_t dim, int64_t count) {
  const Cache cache(count, dim);
  const std::vector<float> q = RandomFloats(heads * dim), weights = RandomFloats(heads),
                           p(static_cast<size_t>(count), 1.0f / static_cast<float>(count));
  std::vector<float> dq(q.size()), dweights(weights.size()), dkeys(static_cast<size_t>(count * dim)),
      scratch(static_cast<size_t>(IndexGradScratch(heads, dim, count)));
  for (auto _ : state)
    set.index_kl_grad(q.data(), weights.data(), heads, dim, cache.rows, nullptr, count, p.data(), 1.0f, dq.data(),
                      dweights.data(), dkeys.data(), scratch.data());
  Report(state, 2.0 * static_cast<double>(heads * count * (3 * dim + 2)), 0, PeakOf(set), 0);
}

// Entries on one row of n floats: bytes read and written.
void Row(benchmark::State& state, int64_t n, int64_t bytes_each, const std::function<void(float*, float*)>& run) {
  std::vector<float> x = RandomFloats(n), y = RandomFloats(n);
  for (auto _ : state) {
    run(x.data(), y.data());
    benchmark::ClobberMemory();
  }
  Report(state, 0, static_cast<double>(n * bytes_each), 0, 0);
}

void RegisterAll(const KernelSet& set) {
  const auto add = [&](const std::string& name, auto run) {
    benchmark::RegisterBenchmark(fmt::format("{}/{}", name, set.name).c_str(), run)->Unit(benchmark::kMicrosecond);
  };
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3}) {
    const std::string name(DTypeName(dtype));
    add("matmul/" + name + "/1x9216x7168", [&, dtype](benchmark::State& s) { MatMul(s, set, dtype, 1, 9216, 7168); });
    add("matmul/" + name + "/1x64x2048", [&, dtype](benchmark::State& s) { MatMul(s, set, dtype, 1, 64, 2048); });
    add("matmul/" + name + "/48x64x2048", [&, dtype](benchmark::State& s) { MatMul(s, set, dtype, 48, 64, 2048); });
    for (const int64_t rows : {4, 16, 128})
      add(fmt::format("matmul/{}/{}x512x7168", name, rows),
          [&, dtype, rows](benchmark::State& s) { MatMul(s, set, dtype, rows, 512, 7168); });
    for (const int64_t rows : {1, 64})
      add(fmt::format("matmul_transposed/{}/{}x128x512", name, rows),
          [&, dtype, rows](benchmark::State& s) { MatMulTransposed(s, set, dtype, rows); });
  }
  for (const DType dtype :
       {DType::kQ8_0, DType::kQ4_0, DType::kQ5_0, DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    const std::string name(DTypeName(dtype));
    add("matmul/" + name + "/1x9216x7168", [&, dtype](benchmark::State& s) { MatMul(s, set, dtype, 1, 9216, 7168); });
    add("matmul/" + name + "/128x512x7168", [&, dtype](benchmark::State& s) { MatMul(s, set, dtype, 128, 512, 7168); });
    add("matmul_transposed/" + name + "/1x128x512",
        [&, dtype](benchmark::State& s) { MatMulTransposed(s, set, dtype, 1); });
  }
  for (const DType dtype : {DType::kQ8, DType::kQ6, DType::kQ4}) {
    const std::string name(DTypeName(dtype));
    add("matmul_tiles/" + name + "/1x9216x7168",
        [&, dtype](benchmark::State& s) { MatMulTiles(s, set, dtype, 1, 9216, 7168); });
    for (const int64_t rows : {1, 4, 16, 128, 512})
      add(fmt::format("matmul_tiles/{}/{}x512x7168", name, rows),
          [&, dtype, rows](benchmark::State& s) { MatMulTiles(s, set, dtype, rows, 512, 7168); });
  }
  add("quantize_x/7168", [&](benchmark::State& s) {
    std::vector<TileX> codes(static_cast<size_t>(ColTiles(7168)));
    Row(s, 7168, 4, [&](float* x, float*) { set.quantize_x(x, 7168, codes.data()); });
  });
  add("index_scores/64x128/65536", [&](benchmark::State& s) { IndexScores(s, set, 64, 65536); });
  add("index_scores/4x128/512", [&](benchmark::State& s) { IndexScores(s, set, 4, 512); });
  for (const int64_t heads : {16, 64})
    add(fmt::format("index_scores_i8/{}x128/65536", heads),
        [&, heads](benchmark::State& s) { IndexScoresI8(s, set, heads, 65536); });
  add("index_scores_e4m3/64x128/65536", [&](benchmark::State& s) { IndexScoresE4M3(s, set, 64, 65536); });
  add("top_k/2048_of_65536", [&](benchmark::State& s) { TopK(s, set, 65536); });
  for (const auto& [name, format] : {std::pair{"f32", RowFormat::kF32},
                                     {"bf16", RowFormat::kBF16},
                                     {"fp8", RowFormat::kFp8},
                                     {"int8", RowFormat::kInt8}})
    for (const auto& [heads, context] : {std::pair{128, 65536}, {32, 65536}, {32, 2048}})
      add(fmt::format("attend_latent/{}/{}x2048_of_{}", name, heads, context),
          [&set, format = format, heads = heads, context = context](benchmark::State& s) {
            AttendLatent(s, set, format, heads, 2048, context);
          });
  for (const int64_t count : {64, 2048})
    add(fmt::format("attend_expanded/{}", count), [&, count](benchmark::State& s) { AttendExpanded(s, set, count); });
  for (const LinearShape& shape : {LinearShape{1024, 256, 1024},
                                   {1024, 1024, 256},
                                   {4096, 128, 256},
                                   {256, 256, 88},
                                   {64, 256, 88},
                                   {16, 256, 88},
                                   {64, 88, 256}}) {
    const std::string name = fmt::format("{}x{}x{}", shape.rows, shape.cols, shape.n);
    add("matmul_forward/" + name,
        [&, shape](benchmark::State& s) { MatMul(s, set, DType::kF32, shape.rows, shape.n, shape.cols); });
    add("matmul_grad_weight/" + name, [&, shape](benchmark::State& s) { MatMulGradWeight(s, set, shape); });
    add("matmul_grad_input/" + name, [&, shape](benchmark::State& s) { MatMulGradInput(s, set, shape); });
  }
  for (const auto& [heads, rc, count] :
       {std::array<int64_t, 3>{16, 64, 512}, {8, 64, 512}, {4, 48, 512}, {8, 64, 64}, {4, 48, 32}})
    add(fmt::format("attend_latent_grad/{}x{}x{}", heads, rc, count),
        [&, heads = heads, rc = rc, count = count](benchmark::State& s) {
          AttendLatentGrad(s, set, heads, rc, count);
        });
  for (const int64_t count : {32, 512})
    add(fmt::format("index_kl_grad/4x32x{}", count),
        [&, count](benchmark::State& s) { IndexKlGrad(s, set, 4, 32, count); });
  add("rms_norm_grad/256", [&](benchmark::State& s) {
    std::vector<float> w(256, 1.0f), dweight(256);
    Row(s, 256, 28, [&](float* x, float* y) { set.rms_norm_grad(x, w.data(), x, 256, 1e-6f, y, dweight.data()); });
  });
  add("silu_mul_grad/2048", [&](benchmark::State& s) {
    std::vector<float> h(2048, 1.0f), dgate(2048), dup(2048);
    Row(s, 2048, 24,
        [&](float* x, float* y) { set.silu_mul_grad(x, y, h.data(), 2048, dgate.data(), dup.data(), h.data()); });
  });
  add("cross_entropy_grad/8192", [&](benchmark::State& s) {
    Row(s, 8192, 8, [&](float*, float* y) { set.cross_entropy_grad(y, 8192, 5, 1.0f); });
  });
  add("adamw/65536", [&](benchmark::State& s) {
    std::vector<float> m(65536), v(65536);
    const AdamWStep step = {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.1f, 0.05f, 1.0f};
    Row(s, 65536, 28, [&](float* x, float* y) { set.adamw(y, x, m.data(), v.data(), 65536, step); });
  });
  add("sum_squares/65536", [&](benchmark::State& s) {
    Row(s, 65536, 4, [&](float* x, float* y) { *y = static_cast<float>(set.sum_squares(x, 65536)); });
  });
  add("rms_norm/7168",
      [&](benchmark::State& s) { Row(s, 7168, 12, [&](float* x, float* y) { set.rms_norm(x, y, 7168, 1e-6f, y); }); });
  add("silu_mul/2048",
      [&](benchmark::State& s) { Row(s, 2048, 12, [&](float* x, float* y) { set.silu_mul(x, y, 2048, y); }); });
  add("axpy/7168",
      [&](benchmark::State& s) { Row(s, 7168, 12, [&](float* x, float* y) { set.axpy(1e-9f, x, 7168, y); }); });
  add("log_sum_exp/129280",
      [&](benchmark::State& s) { Row(s, 129280, 4, [&](float* x, float* y) { *y = set.log_sum_exp(x, 129280); }); });
}

}  // namespace
}  // namespace minke

int main(int argc, char** argv) {
  for (const minke::KernelSet& set : minke::AllKernelSets()) {
    if (!set.supported() || std::string_view(set.name) == "reference") continue;
    minke::RegisterAll(set);
    fmt::print("{}: F32 peak {:.1f} GFLOP/s, 8-bit peak {:.1f} GOP/s\n", set.name, minke::PeakOf(set) * 1e-9,
               minke::PeakInt8Of(set) * 1e-9);
  }
  fmt::print("memory read: {:.1f} GB/s\n", minke::MemoryBandwidth() * 1e-9);
  std::fflush(stdout);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
