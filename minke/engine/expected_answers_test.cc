// nano's 200 greedy answers, made by another implementation, token for token: alone, in batches, in chunks.
#include <gtest/gtest.h>

#include "minke/engine/engine_test_support.h"

namespace minke {
namespace {

void ExpectAllAnswers(const EngineOptions& options, size_t at_once) {
  auto engine = OpenEngine(options);
  ASSERT_NE(engine, nullptr);
  const std::vector<Example>& examples = Examples();
  ASSERT_EQ(examples.size(), 200u);
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

TEST(ExpectedAnswers, OneByOne) { ExpectAllAnswers(NanoOptions(), 1); }

TEST(ExpectedAnswers, InBatchesOf16) { ExpectAllAnswers(NanoOptions(), 16); }

TEST(ExpectedAnswers, AllAtOnceInChunksOf5OnTwoThreads) {
  EngineOptions options = NanoOptions();
  options.prefill_chunk = 5;
  options.num_threads = 2;
  ExpectAllAnswers(options, 200);
}

TEST(ExpectedAnswers, ExpandedForm) {
  EngineOptions options = NanoOptions();
  options.mla_form = MlaForm::kExpanded;
  ExpectAllAnswers(options, 16);
}

}  // namespace
}  // namespace minke
