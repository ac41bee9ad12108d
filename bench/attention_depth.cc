// What a decoded token costs at growing context: one attention layer with DeepSeek-V3.2's real dimensions and random
// weights (tools/make_checkpoint.py v32-layer), on a cache filled with random rows. Sparse attention (DSA) reads
// index keys of the whole context and latents of index_topk tokens; dense attention reads all latents.
//
//   minke_attention_depth CHECKPOINT [THREADS]
//
// Prints milliseconds for one token (median of the runs, and their least and most) and at 64K the ratio that has to be 6.
// The time is of the whole step: projections and the tiny feed-forward layer count for both, which makes the ratio
// smaller than that of the attention loops alone. Exit code 1 below the bound.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
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

struct Times {
  double median_ms, least_ms, most_ms;
};

// One token at position depth - 1, again and again: it overwrites its own row each time.
Times MeasureToken(Forward& forward, const PageTable& table, int64_t depth) {
  const TokenId token = 7;
  BatchItem item;
  item.tokens = {&token, 1};
  item.first_pos = depth - 1;
  item.pages = table.pages().first(static_cast<size_t>(PagePool::PagesFor(depth)));
  forward.Run({&item, 1});  // warms the caches, not kept
  std::vector<double> runs;
  double total_ms = 0;
  while (runs.size() < 5 || (total_ms < 2000 && runs.size() < 200)) {
    const auto begin = std::chrono::steady_clock::now();
    forward.Run({&item, 1});
    runs.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
    total_ms += runs.back();
  }
  std::ranges::sort(runs);
  return {runs[runs.size() / 2], runs.front(), runs.back()};
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
  FillWithRandomRows(table, model->cache_layout(), 0, kDeepest, /*seed=*/1, pool);
  MINKE_ASSIGN(const auto dsa, Create(*model, *kernels, pool, Attention::kDsa));
  MINKE_ASSIGN(const auto dense, Create(*model, *kernels, pool, Attention::kDense));

  const ModelConfig& config = model->config();
  std::printf("attention by depth: %lld heads, kv_lora_rank %lld, index_topk %lld, kernels %s, threads %d\n",
              static_cast<long long>(config.num_attention_heads), static_cast<long long>(config.kv_lora_rank),
              static_cast<long long>(config.index_topk), kernels->name, threads);
  std::printf("%8s  %30s  %30s  %9s\n", "context", "dsa ms/token (least..most)", "dense ms/token (least..most)", "dense/dsa");
  double ratio = 0;
  for (const int64_t depth : kDepths) {
    const Times sparse = MeasureToken(*dsa, table, depth), full = MeasureToken(*dense, table, depth);
    ratio = full.median_ms / sparse.median_ms;
    std::printf("%8lld  %10.2f (%7.2f..%8.2f)  %11.2f (%7.2f..%8.2f)  %9.2f\n", static_cast<long long>(depth),
                sparse.median_ms, sparse.least_ms, sparse.most_ms, full.median_ms, full.least_ms, full.most_ms, ratio);
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
