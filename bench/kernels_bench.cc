// Every hot kernel on every set that runs here, one thread, beside what the same run measured the machine can do:
// `share` is GFLOP/s over the peak of the set's own vector width, or GB/s over the memory's (inputs that exceed
// the last cache) or, for rows in the first-level cache, absent.
//
//   minke_kernels_bench --benchmark_filter=index_scores
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
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
  add("index_scores_e4m3/64x128/65536", [&](benchmark::State& s) { IndexScoresE4M3(s, set, 64, 65536); });
  add("top_k/2048_of_65536", [&](benchmark::State& s) { TopK(s, set, 65536); });
  for (const auto& [name, format] :
       {std::pair{"f32", RowFormat::kF32}, {"bf16", RowFormat::kBF16}, {"fp8", RowFormat::kFp8}, {"int8", RowFormat::kInt8}})
    for (const auto& [heads, context] : {std::pair{128, 65536}, {32, 65536}, {32, 2048}})
      add(fmt::format("attend_latent/{}/{}x2048_of_{}", name, heads, context),
          [&set, format = format, heads = heads, context = context](benchmark::State& s) {
            AttendLatent(s, set, format, heads, 2048, context);
          });
  for (const int64_t count : {64, 2048})
    add(fmt::format("attend_expanded/{}", count), [&, count](benchmark::State& s) { AttendExpanded(s, set, count); });
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
