// What a decoded token costs at growing context: one attention layer with DeepSeek-V3.2's real dimensions and random
// weights (tools/make_checkpoint.py v32-layer), on a cache filled with random rows. Sparse attention (DSA) reads
// index keys of the whole context and latents of index_topk tokens; dense attention reads all latents.
//
//   minke_attention_depth CHECKPOINT [THREADS]
//
// A step also has projections and a tiny feed-forward layer, which read the same weights in both forms. A step at
// position 0, where attention reads one row, has nothing else: what a step takes longer than that is attention's own
// time, and at 64K the ratio of these has to be 6. The three kinds of step take turns, so that a noisy machine is noisy
// to all; medians, with the least and the most. Exit code 1 below the bound.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "minke/engine/page_pool.h"
#include "minke/engine/random_rows.h"
#include "minke/model/forward.h"

namespace minke {
namespace {

constexpr double kMustBeAtLeast = 6;
constexpr int64_t kDepths[] = {2048, 4096, 16384, 65536};
constexpr int64_t kDeepest = 65536;

// Milliseconds of several runs, sorted.
struct Times {
  std::vector<double> ms;
  double median() const { return ms[ms.size() / 2]; }
};

// One token at position depth - 1: it overwrites its own row each time.
double RunToken(Forward& forward, const PageTable& table, int64_t depth) {
  const TokenId token = 7;
  BatchItem item;
  item.tokens = {&token, 1};
  item.first_pos = depth - 1;
  item.pages = table.pages().first(static_cast<size_t>(PagePool::PagesFor(depth)));
  const auto begin = std::chrono::steady_clock::now();
  forward.Run({&item, 1});
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

struct DepthTimes {
  Times rest, dsa, dense;  // at position 0; whole steps at the depth
};

DepthTimes MeasureDepth(Forward& dsa, Forward& dense, const PageTable& table, int64_t depth) {
  DepthTimes times;
  double total_ms = 0;
  for (int round = -1; round < 7 || (total_ms < 4000 && round < 200); ++round) {
    const double rest = RunToken(dsa, table, 1), sparse = RunToken(dsa, table, depth),
                 full = RunToken(dense, table, depth);
    if (round < 0) continue;  // warms the caches
    times.rest.ms.push_back(rest);
    times.dsa.ms.push_back(sparse);
    times.dense.ms.push_back(full);
    total_ms += rest + sparse + full;
  }
  for (Times* t : {&times.rest, &times.dsa, &times.dense}) std::ranges::sort(t->ms);
  return times;
}

std::string Cell(const Times& t) {
  return fmt::format("{:.1f} ({:.1f}..{:.1f})", t.median(), t.ms.front(), t.ms.back());
}

Result<std::unique_ptr<Forward>> Create(const Model& model, const KernelSet& kernels, ThreadPool& pool,
                                        Attention attention) {
  ForwardOptions options;
  options.max_batch_tokens = 1;
  options.max_logit_rows = 1;
  options.max_context = kDeepest;
  options.attention = attention;
  return Forward::Create(model, kernels, pool, options);
}

Result<double> Measure(const char* folder, int threads) {
  MINKE_ASSIGN(const auto model, Model::Open(folder));
  const char* isa = std::getenv("MINKE_ISA");
  MINKE_ASSIGN(const KernelSet* kernels, ChooseKernelSet(isa ? isa : ""));
  MINKE_ASSIGN(const auto pages, PagePool::Create(model->cache_layout(), PagePool::PagesFor(kDeepest)));
  PageTable table(*pages, PagePool::PagesFor(kDeepest));
  MINKE_TRY(table.Grow(PagePool::PagesFor(kDeepest)));
  ThreadPool pool(threads);
  FillWithRandomRows(table, model->cache_layout(), 0, kDeepest, /*seed=*/1, *kernels, pool);
  MINKE_ASSIGN(const auto dsa, Create(*model, *kernels, pool, Attention::kDsa));
  MINKE_ASSIGN(const auto dense, Create(*model, *kernels, pool, Attention::kDense));

  const ModelConfig& config = model->config();
  fmt::print("attention by depth: {} heads, kv_lora_rank {}, index_topk {}, kernels {}, threads {}\n",
             config.num_attention_heads, config.kv_lora_rank, config.index_topk, kernels->name, threads);
  fmt::print("{:>8}  {:>22}  {:>22}  {:>22}  {:>16}  {:>9}\n", "context", "step at 0, ms", "step with dsa, ms",
             "step with dense, ms", "attention, ms", "dense/dsa");
  double ratio = 0;
  for (const int64_t depth : kDepths) {
    const DepthTimes t = MeasureDepth(*dsa, *dense, table, depth);
    const double sparse = t.dsa.median() - t.rest.median(), full = t.dense.median() - t.rest.median();
    ratio = full / sparse;
    fmt::print("{:>8}  {:>22}  {:>22}  {:>22}  {:>16}  {:>9.2f}\n", depth, Cell(t.rest), Cell(t.dsa), Cell(t.dense),
               fmt::format("{:.1f} / {:.1f}", full, sparse), ratio);
    std::fflush(stdout);
  }
  return ratio;
}

int Main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: minke_attention_depth CHECKPOINT [THREADS]\n");
    return 2;
  }
  const int threads = argc > 2 ? std::atoi(argv[2]) : static_cast<int>(std::thread::hardware_concurrency());
  const auto ratio = Measure(argv[1], std::clamp(threads, 1, 256));
  if (!ratio) {
    std::fprintf(stderr, "minke_attention_depth: %s\n", ratio.error().message.c_str());
    return ExitCode(ratio.error().code);
  }
  std::printf("dense/dsa at 64K: %.2f (must be >= %.0f): %s\n", *ratio, kMustBeAtLeast,
              *ratio >= kMustBeAtLeast ? "pass" : "FAIL");
  return *ratio >= kMustBeAtLeast ? 0 : 1;
}

}  // namespace
}  // namespace minke

int main(int argc, char** argv) { return minke::Main(argc, argv); }
