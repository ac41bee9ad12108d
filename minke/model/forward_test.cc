// The model against the golden cases, on every kernel set this CPU has, and against itself: chunking, batch,
// threads and page layout must not change a bit.
#include "minke/model/forward.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>

#include "minke/model/golden_case.h"
#include "minke/model/work.h"

namespace minke {
namespace {

constexpr float kLogitTolerance = 2e-4f, kHiddenTolerance = 5e-4f, kExpertWeightTolerance = 5e-5f;

const char* const kCases[] = {"v2_lite", "v2_group", "v3_bf16_sharded", "v32", "v32_fp8", "v32_mtp", "glm_moe_dsa"};

std::string CaseDir(const std::string& name) { return std::string(MINKE_TEST_DATA) + "/golden/" + name; }

struct Case {
  explicit Case(const std::string& name) : golden(ReadGolden(CaseDir(name) + "/expected.safetensors")) {
    auto opened = Model::Open(CaseDir(name));
    EXPECT_TRUE(opened) << opened.error().message;
    if (opened) model = std::move(*opened);
    for (int64_t id : golden["input_ids"].ints) ids.push_back(static_cast<TokenId>(id));
  }
  std::unique_ptr<const Model> model;
  std::map<std::string, GoldenTensor> golden;
  std::vector<TokenId> ids;
};

std::unique_ptr<Forward> MakeForward(const Model& model, const KernelSet& set, ThreadPool& pool,
                                     ForwardOptions options = {}) {
  options.max_batch_tokens = 256;
  options.max_logit_rows = 256;
  options.max_context = 256;
  auto forward = Forward::Create(model, set, pool, options);
  EXPECT_TRUE(forward) << forward.error().message;
  return std::move(*forward);
}

// Logits of every position, the prompt taken in chunks.
std::vector<float> RunChunked(Forward& forward, const Case& c, int64_t chunk, TapSink* taps = nullptr,
                              bool reversed_pages = false) {
  const TestCache cache(c.model->cache_layout(), 256, reversed_pages);
  std::vector<float> logits;
  const std::span<const TokenId> ids(c.ids);
  for (size_t at = 0; at < ids.size(); at += static_cast<size_t>(chunk)) {
    const BatchItem item{.tokens = ids.subspan(at, std::min(static_cast<size_t>(chunk), ids.size() - at)),
                         .first_pos = static_cast<int64_t>(at),
                         .pages = cache.pages(),
                         .logits = BatchItem::Logits::kAll};
    const auto rows = forward.Run({&item, 1}, taps);
    for (int64_t r = 0; r < rows.dim(0); ++r) logits.insert(logits.end(), rows[r].begin(), rows[r].end());
  }
  return logits;
}

void ExpectNear(const std::vector<float>& got, const std::vector<float>& want, float tolerance,
                const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    const float difference = std::fabs(got[i] - want[i]);
    ASSERT_TRUE(difference <= tolerance) << what << " [" << i << "] is " << got[i] << ", expected " << want[i];
  }
}

void ExpectTaps(const TapLog& taps, const Case& c) {
  for (const auto& [name, golden] : c.golden) {
    if (name.starts_with("hidden.")) {
      ExpectNear(taps.floats.at(name), golden.floats, kHiddenTolerance, name);
    } else if (name.starts_with("expert_weights.")) {
      ExpectNear(taps.floats.at(name), golden.floats, kExpertWeightTolerance, name);
    } else if (name.starts_with("experts.") || name.starts_with("topk.")) {
      const auto& rows = taps.ints.at(name);
      const size_t width = static_cast<size_t>(golden.width());
      ASSERT_EQ(rows.size() * width, golden.ints.size()) << name;
      for (size_t r = 0; r < rows.size(); ++r)
        for (size_t i = 0; i < width; ++i) ASSERT_EQ(rows[r][i], golden.ints[r * width + i]) << name << " row " << r;
    }
  }
}

// And finite: equal NaNs are no result.
bool SameBytes(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0 &&
         std::ranges::all_of(a, [](float x) { return std::isfinite(x); });
}

TEST(Comparison, ANaNAnywhereFails) {
  static const float kNaN = std::numeric_limits<float>::quiet_NaN();
  static const auto near = [](std::vector<float> got) { ExpectNear(got, {1, 2, 3}, 1e-3f, "x"); };
  near({1, 2, 3});
  EXPECT_FATAL_FAILURE(near({kNaN, 2.0f, 3.0f}), "x [0]");
  EXPECT_FATAL_FAILURE(near({1.0f, kNaN, 3.0f}), "x [1]");
  EXPECT_FATAL_FAILURE(near({1.0f, 2.0f, kNaN}), "x [2]");
  EXPECT_FATAL_FAILURE(near({1.0f, 2.1f, 3.0f}), "x [1]");
  EXPECT_TRUE(SameBytes({1, 2}, {1, 2}));
  EXPECT_FALSE(SameBytes({1, 2}, {1, 3}));
  EXPECT_FALSE(SameBytes({1, kNaN}, {1, kNaN}));
}

class GoldenModel : public testing::TestWithParam<const char*> {};

TEST_P(GoldenModel, EveryTensorOnEveryKernelSet) {
  const Case c(GetParam());
  ASSERT_TRUE(c.model);
  ThreadPool pool(1);
  for (const KernelSet& set : AllKernelSets()) {
    if (!set.supported()) continue;
    SCOPED_TRACE(set.name);
    auto forward = MakeForward(*c.model, set, pool);
    TapLog taps;
    const auto logits = RunChunked(*forward, c, 96, &taps);
    ExpectNear(logits, c.golden.at("logits").floats, kLogitTolerance, "logits");
    ExpectTaps(taps, c);
  }
}

TEST_P(GoldenModel, ChunksThreadsAndPagesChangeNoBit) {
  const Case c(GetParam());
  ASSERT_TRUE(c.model);
  ThreadPool one(1), two(2);
  const auto check = [&](const KernelSet& set, const ForwardOptions& options, std::initializer_list<int64_t> chunks) {
    SCOPED_TRACE(set.name);
    auto forward = MakeForward(*c.model, set, one, options);
    auto threaded = MakeForward(*c.model, set, two, options);
    const auto whole = RunChunked(*forward, c, 96);
    for (int64_t chunk : chunks) {
      EXPECT_TRUE(SameBytes(whole, RunChunked(*forward, c, chunk))) << "chunk " << chunk;
      EXPECT_TRUE(SameBytes(whole, RunChunked(*threaded, c, chunk))) << "two threads, chunk " << chunk;
    }
    EXPECT_TRUE(SameBytes(whole, RunChunked(*forward, c, 64, nullptr, /*reversed_pages=*/true)));
  };
  for (const KernelSet& set : AllKernelSets()) {
    if (!set.supported()) continue;
    if (std::string_view(set.name) == "reference") {  // slow, and its loops are trivially in order
      check(set, {}, {7});
      continue;
    }
    for (const Attention attention : {Attention::kDsa, Attention::kDense})
      for (const MlaForm form : {MlaForm::kAbsorbed, MlaForm::kExpanded})
        check(set, {.attention = attention, .mla_form = form}, {1, 7, 64});
    for (const RowFormat format : {RowFormat::kBF16, RowFormat::kFp8, RowFormat::kInt8})
      check(set, {.cache = {format, format}}, {7});
    check(set, {.cache = {RowFormat::kF32, RowFormat::kInt8}}, {1, 7, 64});
  }
}

// Sequences of different lengths, prompts and positions in one batch, mixed prefill and decode.
TEST_P(GoldenModel, NeighboursChangeNoBit) {
  const Case c(GetParam());
  ASSERT_TRUE(c.model);
  ThreadPool pool(2);
  const KernelSet& set = **ChooseKernelSet("");
  auto forward = MakeForward(*c.model, set, pool);
  const int64_t vocab = c.model->config().vocab_size;
  constexpr size_t kSequences = 16;
  std::vector<std::vector<TokenId>> prompts(kSequences, c.ids);
  for (size_t i = 0; i < kSequences; ++i) {
    std::rotate(prompts[i].begin(), prompts[i].begin() + static_cast<int64_t>(5 * i), prompts[i].end());
    prompts[i].resize(c.ids.size() - 3 * i);
  }
  std::vector<std::vector<float>> alone(kSequences), together(kSequences);
  for (size_t i = 0; i < kSequences; ++i) {
    const TestCache cache(c.model->cache_layout(), 256);
    const BatchItem item{.tokens = prompts[i], .pages = cache.pages(), .logits = BatchItem::Logits::kAll};
    const auto rows = forward->Run({&item, 1});
    alone[i].assign(rows.data(), rows.data() + rows.dim(0) * vocab);
  }
  std::vector<TestCache> caches;
  for (size_t i = 0; i < kSequences; ++i) caches.emplace_back(c.model->cache_layout(), 256, i % 2 == 1);
  std::vector<size_t> done(kSequences, 0);
  for (size_t step = 0;; ++step) {
    std::vector<BatchItem> items;
    std::vector<size_t> owners;
    for (size_t i = 0; i < kSequences; ++i) {
      const size_t count = std::min(1 + (step + i) % 13, prompts[i].size() - done[i]);
      if (count == 0) continue;
      items.push_back({.tokens = std::span<const TokenId>(prompts[i]).subspan(done[i], count),
                       .first_pos = static_cast<int64_t>(done[i]),
                       .pages = caches[i].pages(),
                       .logits = BatchItem::Logits::kAll});
      owners.push_back(i);
      done[i] += count;
    }
    if (items.empty()) break;
    const auto rows = forward->Run(items);
    const float* next = rows.data();
    for (size_t k = 0; k < items.size(); ++k) {
      const int64_t floats = static_cast<int64_t>(items[k].tokens.size()) * vocab;
      together[owners[k]].insert(together[owners[k]].end(), next, next + floats);
      next += floats;
    }
  }
  for (size_t i = 0; i < kSequences; ++i) EXPECT_TRUE(SameBytes(alone[i], together[i])) << "sequence " << i;
}

TEST_P(GoldenModel, GreedyContinuation) {
  const Case c(GetParam());
  ASSERT_TRUE(c.model);
  ThreadPool pool(1);
  for (const KernelSet& set : AllKernelSets()) {
    if (!set.supported()) continue;
    auto forward = MakeForward(*c.model, set, pool);
    const TestCache cache(c.model->cache_layout(), 256);
    std::vector<TokenId> next = c.ids;
    int64_t pos = 0;
    for (int64_t want : c.golden.at("greedy_ids").ints) {
      const BatchItem item{.tokens = next, .first_pos = pos, .pages = cache.pages()};
      const auto logits = forward->Run({&item, 1});
      pos += static_cast<int64_t>(next.size());
      next = {static_cast<TokenId>(set.argmax(logits.data(), logits.dim(1)))};
      ASSERT_EQ(next[0], want) << set.name << " at " << pos;
    }
  }
}

// The two forms differ by rounding only: no more than two independent fp32 implementations do.
TEST_P(GoldenModel, ExpandedFormAgreesWithAbsorbed) {
  const Case c(GetParam());
  ASSERT_TRUE(c.model);
  ThreadPool pool(1);
  const KernelSet& set = **ChooseKernelSet("");
  auto absorbed = MakeForward(*c.model, set, pool);
  auto expanded = MakeForward(*c.model, set, pool, {.mla_form = MlaForm::kExpanded});
  const auto a = RunChunked(*absorbed, c, 96), e = RunChunked(*expanded, c, 96);
  EXPECT_FALSE(SameBytes(a, e)) << "the forms are meant to be different arithmetic";
  ExpectNear(a, e, kLogitTolerance, "absorbed against expanded");
}

// A dense run must move the logits far: else sparsity is not tested at all.
TEST(Forward, DenseAttentionIsAnotherModel) {
  const Case c("v32");
  ThreadPool pool(1);
  const KernelSet& set = **ChooseKernelSet("");
  auto dense = MakeForward(*c.model, set, pool, {.attention = Attention::kDense});
  const auto logits = RunChunked(*dense, c, 96);
  float worst = 0;
  for (size_t i = 0; i < logits.size(); ++i)
    worst = std::max(worst, std::fabs(logits[i] - c.golden.at("logits").floats[i]));
  EXPECT_GT(worst, 10.0f);  // case.json: 17.3
  EXPECT_EQ(dense->stats().selected_keys, dense->stats().visible_keys);
}

TEST(Forward, StatsAgreeWithTheTapsAndWithTheCount) {
  const Case c("v32");
  ThreadPool pool(1);
  auto forward = MakeForward(*c.model, **ChooseKernelSet(""), pool);
  TapLog taps;
  RunChunked(*forward, c, 96, &taps);  // in one step
  int64_t experts = 0;
  for (const auto& [name, rows] : taps.ints) {
    if (!name.starts_with("experts.")) continue;
    std::set<int32_t> chosen;
    for (const auto& row : rows) chosen.insert(row.begin(), row.end());
    experts += static_cast<int64_t>(chosen.size());
  }
  EXPECT_GT(experts, 0);
  EXPECT_EQ(forward->stats().experts, experts);
  const ModelConfig& config = c.model->config();
  const Work work = CountWork(*c.model, {.tokens = static_cast<int64_t>(c.ids.size())});
  const double flop_per_key =
      2.0 * static_cast<double>(config.num_attention_heads * (2 * config.kv_lora_rank + config.qk_rope_head_dim));
  EXPECT_EQ(work.attention_flop, static_cast<double>(forward->stats().selected_keys) * flop_per_key);
}

class GoldenMtp : public testing::TestWithParam<const char*> {};

TEST_P(GoldenMtp, DraftLogitsAndSelections) {
  const Case c(GetParam());
  ASSERT_TRUE(c.model);
  ASSERT_TRUE(c.model->has_mtp());
  ThreadPool pool(1);
  for (const KernelSet& set : AllKernelSets()) {
    if (!set.supported()) continue;
    for (const int64_t chunk : {95, 1, 7}) {
      SCOPED_TRACE(set.name);
      auto forward = MakeForward(*c.model, set, pool);
      TapLog main, mtp;
      RunChunked(*forward, c, 96, &main);
      std::vector<float>& hidden = main.floats.at("hidden.normed");
      const int64_t d = c.model->config().hidden_size, rows = static_cast<int64_t>(c.ids.size()) - 1;
      const TensorView<const float, 2> g(hidden.data(), {rows + 1, d});
      const TestCache cache(c.model->cache_layout(), 256);
      std::vector<int32_t> all(static_cast<size_t>(rows));
      std::iota(all.begin(), all.end(), 0);
      std::vector<float> logits;
      for (int64_t at = 0; at < rows; at += chunk) {
        const int64_t count = std::min(chunk, rows - at);
        const BatchItem item{
            .tokens = std::span<const TokenId>(c.ids).subspan(static_cast<size_t>(at + 1), static_cast<size_t>(count)),
            .first_pos = at,
            .pages = cache.pages(),
            .logits = BatchItem::Logits::kAll};
        const auto out = forward->RunMtp(
            {&item, 1}, g, std::span(all).subspan(static_cast<size_t>(at), static_cast<size_t>(count)), &mtp);
        logits.insert(logits.end(), out.data(), out.data() + count * out.dim(1));
      }
      ExpectNear(logits, c.golden.at("mtp.logits").floats, kLogitTolerance, "mtp.logits");
      if (!c.golden.contains("mtp.topk")) continue;
      const GoldenTensor& want = c.golden.at("mtp.topk");
      const auto& sets = mtp.ints.at("topk." + std::to_string(c.model->config().num_hidden_layers));
      for (size_t r = 0; r < sets.size(); ++r)
        for (size_t i = 0; i < static_cast<size_t>(want.width()); ++i)
          ASSERT_EQ(sets[r][i], want.ints[r * static_cast<size_t>(want.width()) + i]) << "mtp.topk row " << r;
    }
  }
}

TEST(Forward, ContextBeyondTheModelIsRefused) {
  const Case c("v32");
  ThreadPool pool(1);
  const auto forward = Forward::Create(*c.model, **ChooseKernelSet(""), pool, {.max_context = 1 << 20});
  ASSERT_FALSE(forward);
  EXPECT_EQ(forward.error().code, Code::kInvalidArgument);
}

TEST(Forward, ScratchGrowsWithTheBatchAndTheContext) {
  const Case c("v32");
  const ForwardOptions small{.max_batch_tokens = 1, .max_logit_rows = 1, .max_context = 64};
  const ForwardOptions large{.max_batch_tokens = 64, .max_logit_rows = 1, .max_context = 96};
  EXPECT_GT(Forward::ScratchBytes(*c.model, 1, small), 0);
  EXPECT_GT(Forward::ScratchBytes(*c.model, 1, large), Forward::ScratchBytes(*c.model, 1, small));
}

std::string CaseName(const testing::TestParamInfo<const char*>& instance) { return instance.param; }
INSTANTIATE_TEST_SUITE_P(Cases, GoldenModel, testing::ValuesIn(kCases), CaseName);
INSTANTIATE_TEST_SUITE_P(Cases, GoldenMtp, testing::Values("v3_bf16_sharded", "v32_mtp"), CaseName);

}  // namespace
}  // namespace minke
