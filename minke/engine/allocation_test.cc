// Counts every call of operator new in this program while the engine decodes: on its worker and on the threads
// of its pool. The test's own thread only waits meanwhile.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "minke/engine/engine_test_support.h"

namespace {
std::atomic<bool> counting{false};
std::atomic<int64_t> allocations{0};

void* CountedAllocate(size_t bytes, size_t align) {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = align <= alignof(std::max_align_t) ? std::malloc(bytes == 0 ? 1 : bytes)
                                                    : std::aligned_alloc(align, (bytes + align - 1) / align * align);
  if (!memory) std::abort();
  return memory;
}
}  // namespace

// Not inlined: g++ would see malloc meet delete, or new meet free, and call that a mistake.
[[gnu::noinline]] void* operator new(size_t bytes) { return CountedAllocate(bytes, 1); }
[[gnu::noinline]] void* operator new[](size_t bytes) { return CountedAllocate(bytes, 1); }
[[gnu::noinline]] void* operator new(size_t bytes, std::align_val_t align) {
  return CountedAllocate(bytes, static_cast<size_t>(align));
}
[[gnu::noinline]] void* operator new[](size_t bytes, std::align_val_t align) {
  return CountedAllocate(bytes, static_cast<size_t>(align));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace minke {
namespace {

TEST(Allocation, TheCounterCounts) {
  counting = true;
  const int64_t before = allocations;
  auto* volatile number = new int(1);
  const int64_t after = allocations;
  counting = false;
  delete number;
  EXPECT_EQ(after, before + 1);
}

TEST(Allocation, AHundredDecodeStepsAllocateNothing) {
  constexpr int64_t kFirst = 20, kLast = kFirst + 300;  // drafts bring several tokens a step
  struct Case {
    int threads;
    Speculation speculation;
    int64_t draft_tokens;
    int64_t memory_bytes = 0;
  };
  for (const auto& [threads, speculation, draft_tokens, memory_bytes] : {Case{1, Speculation::kOff, 1},
                                                                         {2, Speculation::kOff, 1},
                                                                         {1, Speculation::kAlways, 1},
                                                                         {2, Speculation::kAlways, 3},
                                                                         {2, Speculation::kAuto, 1},
                                                                         {2, Speculation::kAlways, 1, 6'500'000}}) {
    EngineOptions options = NanoOptions();
    if (memory_bytes > 0) {  // experts are read again and again
      auto opened =
          Model::Open(std::string(MINKE_TEST_DATA) + "/nano-hf", {.load = Load::kDirect, .memory_bytes = memory_bytes});
      ASSERT_TRUE(opened.has_value()) << opened.error().message;
      options.model = std::move(*opened);
      options.max_batch_tokens = 48, options.cache_bytes = 2'500'000;
    }
    options.num_threads = threads;
    options.speculation = speculation;
    options.draft_tokens = draft_tokens;
    options.token_bytes = [](TokenId) { return std::string_view("ab"); };
    auto engine = OpenEngine(options);
    ASSERT_NE(engine, nullptr);
    // Every path of sampler and stop matcher decodes side by side; the first one switches the counter.
    std::vector<SamplingParams> params(4);
    params[0].temperature = 0;
    params[1].top_k = 40, params[1].top_p = 0.95f, params[1].min_p = 0.01f;
    params[2].repetition_penalty = 1.2f, params[2].frequency_penalty = 0.1f, params[2].logit_bias = {{7, -1}};
    params[3].stop = {"ba!", "abac"}, params[3].logprobs = true, params[3].top_logprobs = 20;
    for (SamplingParams& p : params) {
      p.seed = 1, p.ignore_eos = true, p.max_tokens = 800;
      if (&p == &params[0]) continue;
      TokenSink others;  // of which one is given tokens now and then
      if (&p == &params[2]) {
        others.follow = [](const TokenEvent& event) -> Following {
          static constexpr TokenId kGiven[] = {12, 24, 31};
          if (event.index % 3 != 0) return {};
          return {.tokens = kGiven};
        };
      }
      ASSERT_TRUE(engine->Submit(Examples()[0].prompt, p, others).has_value());
    }
    params[0].max_tokens = kLast + 10;
    std::mutex mutex;
    std::condition_variable changed;
    bool ended = false;
    TokenSink sink;
    int64_t counted = -1;
    sink.on_token = [&](const TokenEvent& event) {
      if (event.index == kFirst) allocations = 0, counting = true;
      if (event.index == kLast) counting = false, counted = allocations;
    };
    sink.on_end = [&](const Ending&) {
      std::lock_guard lock(mutex);
      ended = true;
      changed.notify_all();
    };
    ASSERT_TRUE(engine->Submit(Examples()[1].prompt, params[0], sink).has_value());
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return ended; });
    EXPECT_EQ(counted, 0) << threads << " threads";
    if (memory_bytes > 0) {
      EXPECT_LT(engine->stats().experts.hit_rate(), 0.9);
    }
    EXPECT_EQ(engine->stats().drafts > 0, speculation != Speculation::kOff);
  }
}

}  // namespace
}  // namespace minke
