#include "minke/engine/sampling.h"

#include <gtest/gtest.h>

#include <limits>

namespace minke {
namespace {

constexpr int64_t kVocab = 100;

template <class F>
std::string Refusal(F change) {
  SamplingParams params;
  change(params);
  const Status status = Validate(params, kVocab);
  if (status) return "accepted";
  EXPECT_EQ(status.error().code, Code::kInvalidArgument);
  return status.error().message;
}

TEST(SamplingParams, DefaultsAndBordersAreValid) {
  EXPECT_EQ(Refusal([](SamplingParams&) {}), "accepted");
  EXPECT_EQ(Refusal([](SamplingParams& p) {
              p.temperature = 2, p.top_k = kVocab, p.min_p = 0.999f, p.repetition_penalty = 0.01f;
              p.presence_penalty = -2, p.frequency_penalty = 2, p.max_tokens = 1;
              p.logit_bias = {{0, -100}, {99, 100}}, p.stop_token_ids = {0, 99};
              p.stop = {std::string(kMaxStopBytes, 'x')}, p.logprobs = true, p.top_logprobs = kMaxTopLogprobs;
            }),
            "accepted");
}

TEST(SamplingParams, EveryFieldIsCheckedAndNamed) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.temperature = -1; }), "temperature is -1, allowed is 0 to 2");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.temperature = 2.01f; }), "temperature is 2.01, allowed is 0 to 2");
  EXPECT_EQ(Refusal([&](SamplingParams& p) { p.temperature = nan; }), "temperature is nan, allowed is 0 to 2");
  EXPECT_EQ(Refusal([&](SamplingParams& p) { p.temperature = inf; }), "temperature is inf, allowed is 0 to 2");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.top_p = 0; }), "top_p is 0, it must be above 0 and at most 1");
  EXPECT_EQ(Refusal([&](SamplingParams& p) { p.top_p = nan; }), "top_p is nan, allowed is 0 to 1");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.min_p = 1; }), "min_p is 1, it must be below 1");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.top_k = -1; }), "top_k is -1, allowed is 0 (all) to 100, the vocabulary");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.top_k = 101; }),
            "top_k is 101, allowed is 0 (all) to 100, the vocabulary");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.repetition_penalty = 0; }),
            "repetition_penalty is 0, allowed is 0.01 to 10");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.presence_penalty = 3; }), "presence_penalty is 3, allowed is -2 to 2");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.frequency_penalty = 3; }), "frequency_penalty is 3, allowed is -2 to 2");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.max_tokens = 0; }), "max_tokens is 0, it must be at least 1");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.logit_bias = {{100, 1}}; }),
            "logit_bias names token 100, the vocabulary has 100");
  EXPECT_EQ(Refusal([&](SamplingParams& p) { p.logit_bias = {{1, inf}}; }),
            "logit_bias is inf, allowed is -100 to 100");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.logit_bias.resize(1025); }),
            "logit_bias has 1025 entries, at most 1024 are allowed");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.stop_token_ids = {-1}; }),
            "stop_token_ids names token -1, the vocabulary has 100");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.stop = {""}; }), "a stop string has 0 bytes, allowed is 1 to 256");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.stop_after.assign(257, 'x'); }),
            "stop_after has 257 bytes, at most 256 are allowed");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.stop.assign(17, "x"); }), "stop has 17 entries, at most 16 are allowed");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.logprobs = true, p.top_logprobs = 21; }),
            "top_logprobs is 21, allowed is 0 to 20");
  EXPECT_EQ(Refusal([](SamplingParams& p) { p.top_logprobs = 1; }), "top_logprobs is 1 but logprobs is off");
}

}  // namespace
}  // namespace minke
