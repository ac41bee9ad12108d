// What a decoded token costs at growing context: one attention layer with DeepSeek-V3.2's real dimensions and random
// weights (tools/make_checkpoint.py v32-layer, v32-moe), on a cache filled with random rows. Sparse attention (DSA)
// reads index keys of the whole context and latents of index_topk tokens; dense attention reads all latents.
//
//   minke_attention_depth CHECKPOINT [THREADS [JSON]]      THREADS 0: all; JSON: a file to write
//
// A step also has projections and a feed-forward layer, which read the same weights in both forms. A step at position
// 0, where attention reads one row, has nothing else: what a step takes longer than that is attention's own time, and
// the ratio of these has to be 6 at 64K and 10 at 128K. The three kinds of step take turns, so that a noisy machine is
// noisy to all; medians, with the least and the most. Attention's own time is the median over turns of what the step
// took longer than the one at 0 of the same turn. Exit code 1 below a bound.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "minke/base/file.h"
#include "minke/base/json.h"
#include "minke/engine/page_pool.h"
#include "minke/engine/random_rows.h"
#include "minke/model/forward.h"

namespace minke {
namespace {

struct Depth {
  int64_t tokens;
  double must_be_at_least;  // dense over DSA
};
constexpr Depth kDepths[] = {{2048, 0}, {4096, 0}, {16384, 0}, {65536, 6}, {131072, 10}};
constexpr int64_t kDeepest = 131072;

using Times = std::vector<double>;  // milliseconds, in the order of the turns

double Median(Times ms) {
  std::ranges::sort(ms);
  return ms[ms.size() / 2];
}

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
  int64_t depth = 0;
  Times rest, dsa, dense;  // at position 0; whole steps at the depth

  double Own(const Times& steps) const {
    Times longer;
    for (size_t i = 0; i < steps.size(); ++i) longer.push_back(steps[i] - rest[i]);
    return Median(longer);
  }
  double ratio() const { return Own(dense) / Own(dsa); }
};

DepthTimes MeasureDepth(Forward& dsa, Forward& dense, const PageTable& table, int64_t depth) {
  DepthTimes times{.depth = depth, .rest = {}, .dsa = {}, .dense = {}};
  double total_ms = 0;
  for (int turn = -1; turn < 15 || (total_ms < 4000 && turn < 200); ++turn) {
    const double rest = RunToken(dsa, table, 1), sparse = RunToken(dsa, table, depth),
                 full = RunToken(dense, table, depth);
    if (turn < 0) continue;  // warms the caches
    times.rest.push_back(rest);
    times.dsa.push_back(sparse);
    times.dense.push_back(full);
    total_ms += rest + sparse + full;
  }
  return times;
}

std::string Cell(const Times& t) {
  const auto [least, most] = std::ranges::minmax(t);
  return fmt::format("{:.1f} ({:.1f}..{:.1f})", Median(t), least, most);
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

Result<std::vector<DepthTimes>> Measure(const char* folder, int threads) {
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
  std::vector<DepthTimes> all;
  for (const Depth& depth : kDepths) {
    const DepthTimes& t = all.emplace_back(MeasureDepth(*dsa, *dense, table, depth.tokens));
    fmt::print("{:>8}  {:>22}  {:>22}  {:>22}  {:>16}  {:>9.2f}\n", t.depth, Cell(t.rest), Cell(t.dsa), Cell(t.dense),
               fmt::format("{:.1f} / {:.1f}", t.Own(t.dense), t.Own(t.dsa)), t.ratio());
    std::fflush(stdout);
  }
  return all;
}

Status WriteJson(const char* path, const std::vector<DepthTimes>& all) {
  Json rows = Json::array();
  for (const DepthTimes& t : all)
    rows.push_back({{"depth", t.depth},
                    {"turns", t.rest.size()},
                    {"step_at_0_ms", Median(t.rest)},
                    {"dsa_step_ms", Median(t.dsa)},
                    {"dense_step_ms", Median(t.dense)},
                    {"least_step_at_0_ms", std::ranges::min(t.rest)},
                    {"least_dsa_step_ms", std::ranges::min(t.dsa)},
                    {"least_dense_step_ms", std::ranges::min(t.dense)},
                    {"dsa_ms", t.Own(t.dsa)},
                    {"dense_ms", t.Own(t.dense)}});
  const std::string text = DumpJson(rows) + "\n";
  return WriteFileAtomic(path, std::as_bytes(std::span<const char>(text)));
}

bool Judge(const std::vector<DepthTimes>& all) {
  bool pass = true;
  for (size_t i = 0; i < all.size(); ++i) {
    const double ratio = all[i].ratio(), least = kDepths[i].must_be_at_least;
    if (least == 0) continue;
    std::printf("dense/dsa at %dK: %.2f (must be >= %.0f): %s\n", static_cast<int>(all[i].depth / 1024), ratio, least,
                ratio >= least ? "pass" : "FAIL");
    pass = pass && ratio >= least;
  }
  return pass;
}

int Main(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    std::fprintf(stderr, "usage: minke_attention_depth CHECKPOINT [THREADS [JSON]]\n");
    return 2;
  }
  const int asked = argc > 2 ? std::atoi(argv[2]) : 0;
  const int threads = asked > 0 ? asked : static_cast<int>(std::thread::hardware_concurrency());
  const auto all = Measure(argv[1], std::clamp(threads, 1, 256));
  const Status written = all && argc > 3 ? WriteJson(argv[3], *all) : Status();
  if (!all || !written) {
    const Error& error = all ? written.error() : all.error();
    std::fprintf(stderr, "minke_attention_depth: %s\n", error.message.c_str());
    return ExitCode(error.code);
  }
  return Judge(*all) ? 0 : 1;
}

}  // namespace
}  // namespace minke

int main(int argc, char** argv) { return minke::Main(argc, argv); }
