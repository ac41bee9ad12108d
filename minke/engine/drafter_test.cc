// The MTP layer's rows after a life of right and wrong drafts, against one straight pass: the same bits.
#include "minke/engine/drafter.h"

#include <cstring>

#include "minke/engine/engine_test_support.h"
#include "minke/engine/page_pool.h"

namespace minke {
namespace {

constexpr TokenId kWrong = 400;  // no answer has it

// One forward pass of its own, with its pages.
struct Bench {
  explicit Bench(int64_t num_tokens, int threads = 1)
      : pool(threads),
        forward(std::move(*Forward::Create(*Nano(), **ChooseKernelSet(""), pool,
                                           {.max_batch_tokens = 512, .max_logit_rows = 512, .max_context = 512}))),
        pages(std::move(
            *PagePool::Create(Nano()->cache_layout(), PagePool::PagesFor(num_tokens), PagePool::Fill::kPoison))),
        table(*pages, pages->num_pages()),
        sampler(**ChooseKernelSet(""), Nano()->config().vocab_size) {
    EXPECT_TRUE(table.Grow(pages->num_pages()));
  }
  ThreadPool pool;
  std::unique_ptr<Forward> forward;
  std::unique_ptr<PagePool> pages;
  PageTable table;
  Sampler sampler;
};

const Example& LongExample() {  // past two pages, and past index_topk
  return *std::ranges::max_element(Examples(), {}, [](const Example& e) { return e.prompt.size() + e.output.size(); });
}

std::vector<TokenId> AllTokens(const Example& example) {
  std::vector<TokenId> tokens = example.prompt;
  tokens.insert(tokens.end(), example.output.begin(), example.output.end());
  return tokens;
}

// Prompt and answer at once; returns the MTP layer's favourite for tokens 2, 3, ...
std::vector<TokenId> StraightPass(Bench& bench, const std::vector<TokenId>& tokens) {
  BatchItem item{.tokens = tokens, .pages = bench.table.pages()};
  bench.forward->Run({&item, 1});
  std::vector<int32_t> rows(tokens.size() - 1);
  std::iota(rows.begin(), rows.end(), 0);
  item.tokens = item.tokens.subspan(1);
  item.logits = BatchItem::Logits::kAll;
  const auto logits = bench.forward->RunMtp({&item, 1}, bench.forward->hidden(), rows);
  std::vector<TokenId> favourites;
  for (int64_t row = 0; row < logits.dim(0); ++row)
    favourites.push_back(static_cast<TokenId>(std::ranges::max_element(logits[row]) - logits[row].begin()));
  return favourites;
}

void ExpectSameRows(const Bench& a, const Bench& b, int64_t count) {
  const CacheLayout layout = Nano()->cache_layout();
  for (int64_t layer = 0; layer < layout.num_layers; ++layer) {
    for (int64_t pos = 0; pos < count; ++pos) {
      const auto differs = [&](int64_t offset, int64_t width) {
        const int64_t at = offset + pos % kPageTokens * width;
        const size_t page = static_cast<size_t>(pos / kPageTokens);
        return std::memcmp(a.table.pages()[page] + at, b.table.pages()[page] + at, width * sizeof(float)) != 0;
      };
      ASSERT_FALSE(differs(layout.latent_offset(layer), layout.latent_width())) << "layer " << layer << ", latent " << pos;
      ASSERT_FALSE(differs(layout.index_offset(layer), layout.index_width())) << "layer " << layer << ", key " << pos;
    }
  }
}

TEST(Drafter, RowsAreThoseOfAStraightPassWhateverWasDrafted) {
  const Example& example = LongExample();
  const std::vector<TokenId> tokens = AllTokens(example);
  const int64_t n = std::ssize(tokens), prompt = std::ssize(example.prompt);
  ASSERT_GT(n, 2 * kPageTokens);
  Bench straight(n);
  const std::vector<TokenId> favourites = StraightPass(straight, tokens);

  for (const int64_t num_drafts : {1, 3}) {
    for (const int threads : {1, 2}) {
      SCOPED_TRACE(testing::Message() << num_drafts << " drafts, " << threads << " threads");
      Bench bench(n, threads);
      Drafter drafter(*bench.forward, bench.sampler, 1, 512);
      Request request;
      request.params.temperature = 0;
      request.prompt_tokens = prompt;
      std::mt19937 rng(7);
      int64_t computed = 0, wrong = 0, right = 0;
      while (computed + 1 < n) {
        // A chunk of the prompt, or the last known token with drafts of which a random number is right.
        const bool decodes = computed >= prompt;
        const int64_t end = decodes ? computed + 1 : std::min(prompt, computed + 5);
        const int64_t most = decodes ? std::min(num_drafts, n - 1 - end) : 0;
        const int64_t agree = most > 0 ? static_cast<int64_t>(rng() % static_cast<unsigned>(most + 1)) : 0;
        std::vector<TokenId> batch(tokens.begin() + computed, tokens.begin() + end);
        for (int64_t i = 0; i < most; ++i) batch.push_back(i < agree ? tokens[end + i] : kWrong);
        const BatchItem item{.tokens = batch, .first_pos = computed, .pages = bench.table.pages()};
        bench.forward->Run({&item, 1});
        right += agree;
        wrong += most - agree;

        const int64_t next = end + agree;
        request.tokens.assign(tokens.begin(), tokens.begin() + next + 1);
        drafter.Begin();
        drafter.Add({.request = request,
                     .pages = bench.table.pages(),
                     .pos = computed,
                     .count = next - computed,
                     .row = 0,
                     .num_drafts = num_drafts});
        drafter.Run();
        ASSERT_FALSE(request.drafts.empty());
        ASSERT_EQ(request.drafts[0], favourites[next - 1]) << "after position " << next - 1;
        ASSERT_EQ(std::ssize(request.drafts), std::min(num_drafts, 1 + bench.pages->num_pages() * kPageTokens - next));
        computed = next;
      }
      ExpectSameRows(bench, straight, n - 1);
      EXPECT_GT(right, 20);
      EXPECT_GT(wrong, 20);
    }
  }
}

}  // namespace
}  // namespace minke
