#include "minke/engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace minke {
namespace {

constexpr CacheLayout kTiny{.num_layers = 1, .kv_lora_rank = 1};  // one float a token

std::unique_ptr<PagePool> MakePool(int64_t num_pages) {
  return std::move(*PagePool::Create(kTiny, num_pages, PagePool::Fill::kPoison));
}

struct Range {
  RequestId id;
  int64_t begin, end;
  bool wants_logits;
  int64_t num_drafts = 0;
  bool operator==(const Range&) const = default;
};
void PrintTo(const Range& r, std::ostream* out) {
  *out << r.id << "[" << r.begin << "," << r.end << (r.wants_logits ? ")*" : ")");
  if (r.num_drafts > 0) *out << "+" << r.num_drafts;
}

// One step; whoever wants logits gets one more token, and `right` more if it ran drafts.
std::vector<Range> Step(Scheduler& scheduler, int64_t right = 0) {
  std::vector<Range> ranges;
  for (const PlanItem& item : scheduler.Schedule())
    ranges.push_back({item.id, item.begin, item.end, item.wants_logits, item.num_drafts});
  for (const Range& range : ranges) {
    const int64_t agree = std::min(right, range.num_drafts);
    if (range.wants_logits) scheduler.Append(range.id, 1 + agree, agree);
  }
  return ranges;
}
using Ranges = std::vector<Range>;

TEST(Scheduler, DecodesFirstAndFillsTheStepWithPromptChunks) {
  auto pool = MakePool(64);
  Scheduler scheduler(*pool, {.max_batch_tokens = 10, .max_sequences = 4, .prefill_chunk = 8});
  EXPECT_TRUE(scheduler.Schedule().empty());
  ASSERT_TRUE(scheduler.Add(1, 3, 100));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 0, 3, true}}));
  ASSERT_TRUE(scheduler.Add(2, 12, 100));
  ASSERT_TRUE(scheduler.Add(3, 4, 100));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 3, 4, true}, {2, 0, 8, false}}));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 4, 5, true}, {2, 8, 12, true}, {3, 0, 4, true}}));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 5, 6, true}, {2, 12, 13, true}, {3, 4, 5, true}}));
  EXPECT_TRUE(scheduler.Remove(2));
  EXPECT_FALSE(scheduler.Remove(2));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 6, 7, true}, {3, 5, 6, true}}));
}

TEST(Scheduler, AFullBatchOfDecodersLeavesRoomForTheOldestPrompt) {
  auto pool = MakePool(64);
  Scheduler scheduler(*pool, {.max_batch_tokens = 3, .max_sequences = 3, .prefill_chunk = 3});
  for (RequestId id : {1, 2, 3}) ASSERT_TRUE(scheduler.Add(id, id == 1 ? 1 : 4, 100));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 0, 1, true}, {2, 0, 2, false}}));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 1, 2, true}, {2, 2, 4, true}}));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 2, 3, true}, {2, 4, 5, true}, {3, 0, 1, false}}));
}

TEST(Scheduler, NobodyOvertakesAWaitingSequence) {
  auto pool = MakePool(4);
  Scheduler scheduler(*pool, {.max_batch_tokens = 512, .max_sequences = 8, .prefill_chunk = 512});
  ASSERT_TRUE(scheduler.Add(1, 100, 20));
  ASSERT_TRUE(scheduler.Add(2, 200, 20));  // 4 pages: does not fit beside the first
  ASSERT_TRUE(scheduler.Add(3, 10, 10));   // would fit, but came later
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 0, 100, true}}));
  EXPECT_EQ(scheduler.num_waiting(), 2);
  EXPECT_TRUE(scheduler.Remove(1));
  EXPECT_EQ(Step(scheduler), (Ranges{{2, 0, 200, true}}));
  EXPECT_TRUE(scheduler.Remove(2));
  EXPECT_EQ(Step(scheduler), (Ranges{{3, 0, 10, true}}));
}

TEST(Scheduler, RefusesWhatCanNeverFitWithNumbers) {
  auto pool = MakePool(2);
  Scheduler scheduler(*pool, {.max_batch_tokens = 64, .max_sequences = 4, .prefill_chunk = 64});
  EXPECT_TRUE(scheduler.Add(1, 100, 29));  // 128 rows: the last token needs none
  const Status status = scheduler.Add(2, 100, 30);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kNoMemory);
  EXPECT_EQ(status.error().message,
            "prompt (100 tokens) + max_tokens (30) needs 3 cache pages of 64 tokens, the whole cache has 2");
  EXPECT_EQ(scheduler.num_waiting(), 1);
}

TEST(Scheduler, TheYoungestIsPutBackWhenPagesRunOutAndComputedAgain) {
  auto pool = MakePool(4);
  Scheduler scheduler(*pool, {.max_batch_tokens = 128, .max_sequences = 4, .prefill_chunk = 128});
  ASSERT_TRUE(scheduler.Add(1, 63, 100));
  ASSERT_TRUE(scheduler.Add(2, 63, 100));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 0, 63, true}, {2, 0, 63, true}}));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 63, 64, true}, {2, 63, 64, true}}));
  for (int64_t pos = 64; pos < 128; ++pos) {
    EXPECT_EQ(Step(scheduler), (Ranges{{1, pos, pos + 1, true}, {2, pos, pos + 1, true}}));
  }
  EXPECT_EQ(pool->free_pages(), 0);
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 128, 129, true}}));
  EXPECT_EQ(scheduler.num_preemptions(), 1);
  EXPECT_EQ(scheduler.num_waiting(), 1);
  EXPECT_TRUE(scheduler.Remove(1));
  EXPECT_EQ(Step(scheduler), (Ranges{{2, 0, 128, false}}));  // 63 of the prompt and 66 of its own
  EXPECT_EQ(Step(scheduler), (Ranges{{2, 128, 129, true}}));
}

TEST(Scheduler, DraftsRunOnceBehindTheKnownToken) {
  auto pool = MakePool(4);
  Scheduler scheduler(*pool, {.max_batch_tokens = 16, .max_sequences = 4, .prefill_chunk = 16});
  ASSERT_TRUE(scheduler.Add(1, 3, 100));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 0, 3, true}}));
  scheduler.Propose(1, 2);
  EXPECT_EQ(Step(scheduler, /*right=*/2), (Ranges{{1, 3, 4, true, 2}}));  // 3, 4, 5 are in the cache
  scheduler.Propose(1, 2);
  EXPECT_EQ(Step(scheduler, /*right=*/1), (Ranges{{1, 6, 7, true, 2}}));
  scheduler.Propose(1, 2);
  EXPECT_EQ(Step(scheduler, /*right=*/0), (Ranges{{1, 8, 9, true, 2}}));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 9, 10, true}}));  // nothing was proposed anew
}

TEST(Scheduler, GivenTokensRunAsAPromptDoesBehindThoseWhoDecode) {
  auto pool = MakePool(4);
  Scheduler scheduler(*pool, {.max_batch_tokens = 8, .max_sequences = 4, .prefill_chunk = 3});
  for (RequestId id : {1, 2}) ASSERT_TRUE(scheduler.Add(id, 1, 100));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 0, 1, true}, {2, 0, 1, true}}));
  scheduler.Propose(1, 2);
  ASSERT_EQ(scheduler.Schedule()[0].num_drafts, 2);
  scheduler.Append(1, 1 + 4, 1);  // the first draft was right, four were given behind it
  scheduler.Append(2);
  EXPECT_EQ(Step(scheduler), (Ranges{{2, 2, 3, true}, {1, 3, 6, false}}));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 6, 7, true}, {2, 3, 4, true}}));
}

TEST(Scheduler, DraftsTakeOnlyRowsThatNobodyNeeds) {
  auto pool = MakePool(16);
  Scheduler scheduler(*pool, {.max_batch_tokens = 6, .max_sequences = 4, .prefill_chunk = 6});
  for (RequestId id : {1, 2}) ASSERT_TRUE(scheduler.Add(id, 2, 100));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 0, 2, true}, {2, 0, 2, true}}));
  ASSERT_TRUE(scheduler.Add(3, 9, 100));
  for (RequestId id : {1, 2}) scheduler.Propose(id, 2);
  // Six rows, one for each of the three; what is left goes to the drafts of the oldest.
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 2, 3, true, 2}, {2, 2, 3, true, 1}, {3, 0, 1, false}}));
}

TEST(Scheduler, DraftsTakeOnlyPagesThatAreFree) {
  auto pool = MakePool(2);
  Scheduler scheduler(*pool, {.max_batch_tokens = 128, .max_sequences = 4, .prefill_chunk = 128});
  ASSERT_TRUE(scheduler.Add(1, 62, 60));
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 0, 62, true}}));
  ASSERT_TRUE(scheduler.Add(2, 1, 2));
  scheduler.Propose(1, 3);
  EXPECT_EQ(Step(scheduler), (Ranges{{1, 62, 63, true, 3}}));  // the second page was free; now 2 has to wait
  EXPECT_TRUE(scheduler.Remove(1));

  ASSERT_TRUE(scheduler.Add(3, 62, 60));
  EXPECT_EQ(Step(scheduler), (Ranges{{2, 0, 1, true}}));
  EXPECT_TRUE(scheduler.Remove(2));
  EXPECT_EQ(Step(scheduler), (Ranges{{3, 0, 62, true}}));
  ASSERT_TRUE(scheduler.Add(4, 1, 2));
  PageTable other(*pool, 1);
  ASSERT_TRUE(other.Grow(1));
  scheduler.Propose(3, 3);
  EXPECT_EQ(Step(scheduler), (Ranges{{3, 62, 63, true, 1}}));
  EXPECT_EQ(scheduler.num_preemptions(), 0);
}

// A life of random arrivals, ends and cancellations, checked step by step against the plainest model: how many
// tokens each sequence has, and a value that every (sequence, position) leaves in its cache row.
class Life {
 public:
  Life(unsigned seed, int64_t num_pages, const SchedulerOptions& options)
      : rng_(seed), options_(options), pool_(MakePool(num_pages)), scheduler_(*pool_, options) {}

  void Run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFatalFailure(); ++step) {
      if (Below(3) == 0) Arrive();
      if (Below(25) == 0 && !alive_.empty()) Cancel();
      OneStep();
    }
    for (int step = 0; !alive_.empty() && !testing::Test::HasFatalFailure(); ++step) {  // no more arrivals
      ASSERT_LT(step, 200000) << "somebody starves";
      OneStep();
    }
    EXPECT_EQ(pool_->used_pages(), 0);
    EXPECT_TRUE(scheduler_.Schedule().empty());
    EXPECT_EQ(scheduler_.num_running() + scheduler_.num_waiting(), 0);
  }
  int64_t preemptions() const { return scheduler_.num_preemptions(); }
  int64_t ended() const { return ended_; }
  int64_t drafts() const { return drafts_; }
  int64_t given() const { return given_; }

 private:
  struct Naive {
    int64_t prompt, max_tokens, known, computed = 0, proposed = 0;
  };
  int64_t Below(int64_t n) { return static_cast<int64_t>(rng_() % static_cast<uint64_t>(n)); }
  static float Value(RequestId id, int64_t pos) { return static_cast<float>(static_cast<int64_t>(id) * 1000 + pos); }

  void Arrive() {
    const int64_t most = pool_->num_pages() * kPageTokens;
    const int64_t prompt = 1 + Below(Below(4) == 0 ? most : 100), max_tokens = 1 + Below(400);
    const bool fits = prompt + max_tokens - 1 <= most;
    ASSERT_EQ(scheduler_.Add(++last_id_, prompt, max_tokens).has_value(), fits);
    if (fits) alive_[last_id_] = {prompt, max_tokens, prompt};
  }

  void Cancel() {
    auto victim = alive_.begin();
    std::advance(victim, Below(static_cast<int64_t>(alive_.size())));
    ASSERT_TRUE(scheduler_.Remove(victim->first));
    alive_.erase(victim);
  }

  void OneStep() {
    const int64_t preempted_before = scheduler_.num_preemptions();
    const std::span<const PlanItem> plan = scheduler_.Schedule();
    ASSERT_EQ(plan.empty(), alive_.empty());
    if (plan.empty()) return;
    ASSERT_LE(std::ssize(plan), options_.max_sequences);
    int64_t tokens = 0, prefill = 0, restarts = 0;
    bool oldest_runs = false, prefilling = false;
    std::map<RequestId, bool> seen;
    for (const PlanItem& item : plan) {
      ASSERT_TRUE(alive_.contains(item.id));
      ASSERT_TRUE(seen.emplace(item.id, true).second) << "twice in one step";
      Naive& naive = alive_[item.id];
      if (item.begin != naive.computed) {
        ASSERT_EQ(item.begin, 0);
        ++restarts;
      }
      ASSERT_LT(item.begin, item.end);
      ASSERT_LE(item.end, naive.known);
      ASSERT_EQ(item.wants_logits, item.end == naive.known);
      ASSERT_LE(item.num_drafts, naive.proposed);
      ASSERT_GE(std::ssize(item.pages) * kPageTokens, item.end + item.num_drafts);
      for (int64_t pos = 0; pos < item.end; ++pos) {
        float& row = item.pages[pos / kPageTokens][pos % kPageTokens];
        if (pos >= item.begin) row = Value(item.id, pos);
        ASSERT_EQ(row, Value(item.id, pos)) << "row " << pos << " of " << item.id;
      }
      const bool decode = naive.known - item.begin == 1;
      ASSERT_FALSE(decode && prefilling) << "decode comes first";
      ASSERT_TRUE(decode || item.num_drafts == 0);
      prefilling |= !decode;
      tokens += item.end - item.begin + item.num_drafts;
      prefill += decode ? 0 : item.end - item.begin;
      oldest_runs |= item.id == alive_.begin()->first;
      naive.computed = item.end;
    }
    ASSERT_TRUE(oldest_runs);
    ASSERT_LE(tokens, options_.max_batch_tokens);
    ASSERT_LE(prefill, options_.prefill_chunk);
    restarted_ += restarts;
    preempted_ += scheduler_.num_preemptions() - preempted_before;
    ASSERT_LE(restarted_, preempted_);
    const std::vector<PlanItem> items(plan.begin(), plan.end());
    for (const PlanItem& item : items) {
      if (!item.wants_logits) continue;
      Naive& naive = alive_[item.id];
      const int64_t right = Below(item.num_drafts + 1);
      for (int64_t i = 0; i < item.num_drafts; ++i) {  // what wrong drafts leave must never be read
        const int64_t pos = item.end + i;
        item.pages[pos / kPageTokens][pos % kPageTokens] = i < right ? Value(item.id, pos) : -1;
      }
      naive.computed = item.end + right;
      naive.known += 1 + right;
      drafts_ += item.num_drafts;
      const int64_t left = naive.prompt + naive.max_tokens - naive.known;
      if (left == 0 || Below(300) == 0) {
        ASSERT_TRUE(scheduler_.Remove(item.id));
        alive_.erase(item.id);
        ++ended_;
        continue;
      }
      const int64_t given = Below(8) == 0 ? Below(std::min<int64_t>(left, 150)) : 0;
      scheduler_.Append(item.id, 1 + right + given, right);
      naive.known += given;
      given_ += given;
      naive.proposed = given > 0 ? 0 : Below(std::min<int64_t>(left, 4));
      if (naive.proposed > 0) scheduler_.Propose(item.id, naive.proposed);
    }
  }

  std::mt19937 rng_;
  const SchedulerOptions options_;
  std::unique_ptr<PagePool> pool_;
  Scheduler scheduler_;
  std::map<RequestId, Naive> alive_;
  RequestId last_id_ = 0;
  int64_t ended_ = 0, drafts_ = 0, given_ = 0, restarted_ = 0, preempted_ = 0;
};

TEST(Scheduler, RandomLivesKeepEveryPromise) {
  int64_t preemptions = 0, ended = 0, drafts = 0, given = 0;
  unsigned seed = 0;
  for (const SchedulerOptions& options :
       {SchedulerOptions{1, 1, 1}, SchedulerOptions{8, 8, 8}, SchedulerOptions{16, 4, 7}, SchedulerOptions{64, 16, 64},
        SchedulerOptions{512, 16, 512}}) {
    for (int64_t num_pages : {1, 2, 5, 12, 60}) {
      SCOPED_TRACE(testing::Message() << "budget " << options.max_batch_tokens << ", pages " << num_pages);
      Life life(++seed, num_pages, options);
      life.Run(600);
      if (testing::Test::HasFatalFailure()) return;
      preemptions += life.preemptions();
      ended += life.ended();
      drafts += life.drafts();
      given += life.given();
    }
  }
  EXPECT_GT(preemptions, 50);
  EXPECT_GT(ended, 1000);
  EXPECT_GT(drafts, 1000);
  EXPECT_GT(given, 1000);
}

}  // namespace
}  // namespace minke
