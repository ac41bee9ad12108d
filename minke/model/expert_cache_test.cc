// Models whose experts do not all fit: the same bits as in memory, with as few slots as there can be.
#include "minke/model/expert_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "minke/model/forward.h"
#include "minke/model/golden_case.h"

namespace minke {
namespace {

constexpr int64_t kTokens = 96, kContext = 128;

std::string CaseDir(const std::string& name) { return std::string(MINKE_TEST_DATA) + "/golden/" + name; }

std::unique_ptr<const Model> Open(const std::string& dir, const ModelOptions& options) {
  auto model = Model::Open(dir, options);
  EXPECT_TRUE(model.has_value()) << model.error().message;
  return model ? std::move(*model) : nullptr;
}

// All logits of a prompt, taken in chunks, then of the MTP layer where there is one.
std::vector<float> Logits(const Model& model, ThreadPool& pool, int64_t chunk, int64_t expert_bytes,
                          ExpertStats* stats = nullptr) {
  const ForwardOptions options{
      .max_batch_tokens = chunk, .max_logit_rows = chunk, .max_context = kContext, .expert_bytes = expert_bytes};
  auto forward = Forward::Create(model, *ChooseKernelSet("").value(), pool, options);
  EXPECT_TRUE(forward.has_value()) << forward.error().message;
  std::vector<TokenId> ids;
  for (int64_t i = 0; i < kTokens; ++i) ids.push_back(static_cast<TokenId>(i * 37 % model.config().vocab_size));
  const TestCache cache(model.cache_layout(), kContext);
  std::vector<float> logits;
  const auto take = [&](TensorView<const float, 2> rows) {
    for (int64_t r = 0; r < rows.dim(0); ++r) logits.insert(logits.end(), rows[r].begin(), rows[r].end());
  };
  for (int64_t at = 0; at + chunk <= kTokens; at += chunk) {
    const BatchItem item{.tokens = std::span(ids).subspan(static_cast<size_t>(at), static_cast<size_t>(chunk)),
                         .first_pos = at,
                         .pages = cache.pages(),
                         .logits = BatchItem::Logits::kAll};
    take((*forward)->Run({&item, 1}));
    if (!model.has_mtp()) continue;
    std::vector<int32_t> rows(static_cast<size_t>(chunk));
    std::iota(rows.begin(), rows.end(), 0);
    take((*forward)->RunMtp({&item, 1}, (*forward)->hidden(), rows));
  }
  if (stats) *stats = (*forward)->expert_stats();
  return logits;
}

TEST(ExpertCache, FewSlotsGiveTheSameBits) {
  for (const char* name : {"v32_fp8", "v32_mtp", "v3_bf16_sharded", "v2_group"}) {
    const auto mapped = Open(CaseDir(name), {});
    const auto streamed = Open(CaseDir(name), {.load = Load::kDirect, .memory_bytes = int64_t{1} << 30});
    ASSERT_TRUE(mapped && streamed);
    ASSERT_TRUE(streamed->streams_experts());
    for (const int threads : {1, 2}) {
      ThreadPool pool(threads);
      for (const int64_t chunk : {int64_t{1}, int64_t{48}}) {
        const std::vector<float> want = Logits(*mapped, pool, chunk, 0);
        for (const int64_t slots : {int64_t{2} * mapped->config().num_experts_per_tok, int64_t{1} << 10}) {
          ExpertStats stats;
          const int64_t slot_bytes = streamed->least_expert_bytes() / (2 * mapped->config().num_experts_per_tok);
          const auto got = Logits(*streamed, pool, chunk, slots * slot_bytes, &stats);
          EXPECT_EQ(got, want) << name << ", " << threads << " threads, chunks of " << chunk << ", " << slots
                               << " slots";
          EXPECT_GE(stats.read_bytes, stats.missed_bytes);
          EXPECT_GT(stats.missed_bytes, 0);
        }
      }
    }
    EXPECT_TRUE(streamed->Health().has_value());
  }
}

TEST(ExpertCache, WithRoomForAllEachIsReadOnce) {
  const auto model = Open(CaseDir("v32"), {.load = Load::kRead, .memory_bytes = int64_t{1} << 30});
  ASSERT_TRUE(model);
  ThreadPool pool(1);
  const int64_t all = model->ExpertBytes(0).value();
  ExpertStats stats;
  Logits(*model, pool, 1, all, &stats);
  EXPECT_LE(stats.read_bytes, all);
  EXPECT_GT(stats.hit_rate(), 0.8);
  ExpertStats few;
  Logits(*model, pool, 1, model->least_expert_bytes(), &few);
  EXPECT_GT(few.read_bytes, stats.read_bytes);
  EXPECT_LT(few.hit_rate(), stats.hit_rate());
}

TEST(ExpertCache, GuessesOfTheNextLayerAreOftenRight) {
  const auto model =
      Open(std::string(MINKE_TEST_DATA) + "/nano-hf", {.load = Load::kDirect, .memory_bytes = int64_t{1} << 30});
  ASSERT_TRUE(model);
  ThreadPool pool(1);
  ExpertStats stats;
  Logits(*model, pool, 1, 2 * model->least_expert_bytes(), &stats);
  EXPECT_GT(stats.prefetched, 0);
  // What the guesses had read in vain.
  EXPECT_LT(stats.read_bytes, 2 * stats.missed_bytes);
}

TEST(ExpertCache, ExpertsThatFillAllSlotsMakeRoomForOneBeforeThem) {
  const auto model = Open(std::string(MINKE_TEST_DATA) + "/nano-hf", {.load = Load::kDirect, .memory_bytes = 8 << 20});
  ASSERT_TRUE(model);
  const auto made = ExpertCache::Create(*model->source(), model->weights(), model->least_expert_bytes());
  ASSERT_TRUE(made.has_value());
  ExpertCache& cache = **made;
  const auto run = [&](std::vector<int32_t> experts, bool in_order) {
    cache.BeginPass();
    cache.Need(/*layer=*/1, experts);
    std::vector<int64_t> taken;
    for (int64_t i; (i = cache.Next(in_order)) >= 0;) {
      taken.push_back(i);
      const MlpWeights w = cache.Weights(i);
      const WeightView& want = model->weights().layers[1].experts[static_cast<size_t>(experts[i])].up_proj;  // mapped
      EXPECT_EQ(std::memcmp(w.up_proj.data, want.data, static_cast<size_t>(want.data_bytes())), 0) << experts[i];
      cache.Release(i);
    }
    return taken;
  };
  ASSERT_EQ(cache.num_slots(), 4);
  EXPECT_EQ(run({4, 5, 6, 7}, true).size(), 4u);
  EXPECT_EQ(run({0, 1, 2, 3, 4, 5, 6, 7}, true), (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(run({4, 5, 6, 7}, false).size(), 4u);
  EXPECT_EQ(run({0, 1, 2, 3, 4, 5, 6, 7}, false).size(), 8u);
}

TEST(ExpertCache, MemoryThatIsTooSmallIsRefusedWithWhatIsNeeded) {
  const auto refused = Model::Open(CaseDir("v32"), {.load = Load::kDirect, .memory_bytes = 1000});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kNoMemory);
  EXPECT_NE(refused.error().message.find("weights of every token take"), std::string::npos) << refused.error().message;
  const auto model = Open(CaseDir("v32"), {.load = Load::kDirect, .memory_bytes = 2'000'000});
  ASSERT_TRUE(model);
  const auto bytes = model->ExpertBytes(2'000'000);
  ASSERT_FALSE(bytes.has_value());
  EXPECT_EQ(bytes.error().code, Code::kNoMemory);
  EXPECT_NE(bytes.error().message.find("cache and activations 2.00"), std::string::npos) << bytes.error().message;
}

TEST(ExpertCache, SeveralCachesShareWhatIsLeftAndNoneIsLargerThanAllExperts) {
  const auto model = Open(CaseDir("v32"), {.load = Load::kDirect, .memory_bytes = int64_t{1} << 30});
  ASSERT_TRUE(model);
  const int64_t all = model->ExpertBytes(0).value(), left = (int64_t{1} << 30) - model->resident_bytes();
  EXPECT_EQ(model->ExpertBytes(0, 2).value(), all);
  EXPECT_EQ(model->ExpertBytes(left - all, 2).value(), all / 2);
  EXPECT_FALSE(model->ExpertBytes(left - 2 * model->least_expert_bytes() + 1, 2).has_value());
}

TEST(ExpertCache, OneSlotIsEnough) {
  const auto model = Open(CaseDir("v32"), {.load = Load::kDirect, .memory_bytes = int64_t{1} << 30});
  ASSERT_TRUE(model);
  const auto made = ExpertCache::Create(*model->source(), model->weights(), model->source()->slot_bytes());
  ASSERT_TRUE(made.has_value());
  ASSERT_EQ((*made)->num_slots(), 1);
  (*made)->BeginPass();
  (*made)->Prefetch(std::ssize(model->weights().layers) - 1, std::vector<int32_t>{0, 1});
  (*made)->Need(std::ssize(model->weights().layers) - 1, std::vector<int32_t>{0, 1, 2});
  for (int64_t want = 0; want < 3; ++want) {
    ASSERT_EQ((*made)->Next(/*in_order=*/true), want);
    (*made)->Release(want);
  }
}

TEST(ExpertCache, AGuessDoesNotPushOutAnother) {
  const auto model = Open(std::string(MINKE_TEST_DATA) + "/nano-hf", {.load = Load::kDirect, .memory_bytes = 8 << 20});
  ASSERT_TRUE(model);
  const auto made = ExpertCache::Create(*model->source(), model->weights(), model->least_expert_bytes());
  ASSERT_TRUE(made.has_value());
  ExpertCache& cache = **made;
  const auto run = [&](const std::vector<int32_t>& experts) {
    cache.BeginPass();
    cache.Need(/*layer=*/1, experts);
    for (int64_t i; (i = cache.Next(true)) >= 0;) cache.Release(i);
  };
  ASSERT_EQ(cache.num_slots(), 4);
  run({0, 1, 2, 3});
  run({1, 2, 3});  // 0 is the least useful now
  cache.Prefetch(/*layer=*/1, std::vector<int32_t>{5, 0});
  const int64_t hits = cache.stats().hits;
  run({0});
  EXPECT_EQ(cache.stats().hits, hits + 1);
}

}  // namespace
}  // namespace minke
