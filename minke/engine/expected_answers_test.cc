// nano's 200 greedy answers, made by another implementation, token for token: alone, in batches, in chunks.
#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <string_view>

#include "minke/engine/engine_test_support.h"

namespace minke {
namespace {

void ExpectAnswers(const EngineOptions& options, size_t at_once, size_t count = kSanitized ? 8 : 200) {
  auto engine = OpenEngine(options);
  ASSERT_NE(engine, nullptr);
  ASSERT_EQ(Examples().size(), 200u);
  const std::span<const Example> examples = std::span(Examples()).first(count);
  for (size_t begin = 0; begin < examples.size(); begin += at_once) {
    std::vector<Submitted> batch;
    for (size_t i = begin; i < std::min(begin + at_once, examples.size()); ++i) {
      batch.push_back(Submit(*engine, examples[i].prompt, {.temperature = 0, .max_tokens = 400}));
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      batch[i].answer->WaitForEnd();
      ASSERT_EQ(batch[i].answer->tokens, examples[begin + i].output) << "example " << begin + i;
      ASSERT_EQ(batch[i].answer->reason, FinishReason::kEos);
    }
  }
}

TEST(ExpectedAnswers, OneByOne) { ExpectAnswers(NanoOptions(), 1); }

TEST(ExpectedAnswers, InBatchesOf16) { ExpectAnswers(NanoOptions(), 16); }

TEST(ExpectedAnswers, AllAtOnceInChunksOf5OnTwoThreads) {
  EngineOptions options = NanoOptions();
  options.prefill_chunk = 5;
  options.num_threads = 2;
  ExpectAnswers(options, 200);
}

TEST(ExpectedAnswers, OnEveryKernelSet) {
  if (kSanitized) GTEST_SKIP() << "the kernels' own tests cover this";
  EngineOptions options = NanoOptions();
  for (const KernelSet& set : AllKernelSets()) {
    if (!set.supported()) continue;
    SCOPED_TRACE(set.name);
    options.kernels = &set;
    // The specification is 20 times slower than the others.
    ExpectAnswers(options, 16, std::string_view(set.name) == "reference" ? 40 : 200);
  }
}

TEST(ExpectedAnswers, ExpandedForm) {
  EngineOptions options = NanoOptions();
  options.mla_form = MlaForm::kExpanded;
  ExpectAnswers(options, 16);
}

}  // namespace
}  // namespace minke
