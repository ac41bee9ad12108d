#include "minke/engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

namespace minke {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

const KernelSet& Reference() { return AllKernelSets().back(); }

std::vector<float> RandomLogits(int64_t vocab_size, float spread, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(vocab_size);
  for (float& l : logits) l = normal(rng);
  return logits;
}

TokenId DrawOne(std::span<const float> logits, const SamplingParams& params, const TokenHistory& history = {},
                uint64_t seed = 1, int64_t index = 0) {
  Sampler sampler(Reference(), static_cast<int64_t>(logits.size()));
  const auto sample = sampler.Draw(logits, params, history, seed, index);
  EXPECT_TRUE(sample.has_value());
  return sample ? sample->token : -1;
}

// The distribution by the text of sampler.h, with a full sort and doubles.
std::vector<double> NaiveDistribution(std::span<const float> logits, const SamplingParams& params) {
  std::vector<int> order(logits.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  std::ranges::sort(order, [&](int a, int b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  if (params.top_k > 0 && params.top_k < static_cast<int64_t>(order.size())) order.resize(params.top_k);
  std::vector<double> p(logits.size(), 0);
  double total = 0;
  for (int id : order) total += p[id] = std::exp((double{logits[id]} - logits[order[0]]) / params.temperature);
  double mass = 0;
  const double largest = p[order[0]];
  for (int id : order) {
    const bool beyond_top_p = mass >= params.top_p * total;
    mass += p[id];
    if (beyond_top_p || p[id] < params.min_p * largest) p[id] = 0;
  }
  double kept = 0;
  for (double x : p) kept += x;
  for (double& x : p) x /= kept;
  return p;
}

// Draws many tokens, checks the support exactly and the frequencies by chi-square.
void ExpectDistribution(std::span<const float> logits, const SamplingParams& params) {
  constexpr int kDraws = 20000;
  const std::vector<double> expected = NaiveDistribution(logits, params);
  Sampler sampler(Reference(), static_cast<int64_t>(logits.size()));
  std::vector<int> count(logits.size(), 0);
  for (int i = 0; i < kDraws; ++i) {
    const auto sample = sampler.Draw(logits, params, {}, 77, i);
    ASSERT_TRUE(sample.has_value());
    ++count[sample->token];
  }
  double chi_square = 0, rest_expected = 0, rest_count = 0;
  int cells = 0;
  for (size_t id = 0; id < logits.size(); ++id) {
    if (expected[id] == 0) {
      ASSERT_EQ(count[id], 0) << "token " << id << " is outside the kept set";
    } else if (expected[id] * kDraws < 10) {  // chi-square wants at least a few in each cell
      rest_expected += expected[id] * kDraws;
      rest_count += count[id];
    } else {
      const double e = expected[id] * kDraws;
      chi_square += (count[id] - e) * (count[id] - e) / e;
      ++cells;
    }
  }
  if (rest_expected >= 10) {
    chi_square += (rest_count - rest_expected) * (rest_count - rest_expected) / rest_expected;
    ++cells;
  }
  const double degrees = cells - 1;
  // Mean `degrees`, variance 2 * `degrees`; five deviations for a test that uses one fixed seed.
  EXPECT_LE(chi_square, degrees + 5 * std::sqrt(2 * degrees) + 1e-3);
}

TEST(Sampler, TemperatureZeroTakesTheLargestAndTheLowestIdOnTies) {
  EXPECT_EQ(DrawOne(std::vector<float>{1, 3, 2, 3}, {.temperature = 0}), 1);
  EXPECT_EQ(DrawOne(std::vector<float>{-kInf, -kInf, -5}, {.temperature = 0}), 2);
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  for (float temperature : {0.3f, 0.6f, 1.0f, 2.5f}) {
    SCOPED_TRACE(temperature);
    ExpectDistribution(RandomLogits(12, 2, 3), {.temperature = temperature});
  }
}

TEST(Sampler, TopKKeepsTheLargestAndLowerIdsOnTies) {
  for (int64_t k : {1, 2, 5, 11, 12, 100}) {
    SCOPED_TRACE(k);
    ExpectDistribution(RandomLogits(12, 2, 3), {.top_k = k});
  }
  ExpectDistribution(std::vector<float>{2, 1, 1, 1, 0}, {.top_k = 3});
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  for (float top_p : {1e-6f, 0.1f, 0.5f, 0.9f, 0.999f}) {
    SCOPED_TRACE(top_p);
    for (unsigned seed = 0; seed < 5; ++seed) ExpectDistribution(RandomLogits(40, 2, seed), {.top_p = top_p});
  }
  // 0.5 is reached by one token exactly; the lower id of two equal ones goes first.
  ExpectDistribution(std::vector<float>{0, 0}, {.top_p = 0.5f});
}

TEST(Sampler, TopPOfAFlatDistributionKeepsItsShare) {
  // The worst case for partial selection: nothing can be dropped early.
  const std::vector<float> logits(1000, 1.5f);
  Sampler sampler(Reference(), 1000);
  for (int i = 0; i < 2000; ++i) {
    EXPECT_LT(sampler.Draw(logits, {.top_p = 0.25f}, {}, 5, i)->token, 251);
  }
}

TEST(Sampler, MinPIsRelativeToTheMostLikely) {
  for (float min_p : {0.01f, 0.2f, 0.9f}) {
    SCOPED_TRACE(min_p);
    ExpectDistribution(RandomLogits(40, 2, 8), {.min_p = min_p});
  }
}

TEST(Sampler, FiltersCombineInTheStatedOrder) {
  for (unsigned seed = 0; seed < 5; ++seed) {
    ExpectDistribution(RandomLogits(40, 2, seed), {.temperature = 1.3f, .top_k = 20, .top_p = 0.8f, .min_p = 0.05f});
  }
}

TEST(Sampler, AnExtremeTemperatureIsGreedyOrUniform) {
  EXPECT_EQ(DrawOne(std::vector<float>{1, 30, 29.999f}, {.temperature = 1e-38f}), 1);
  EXPECT_EQ(DrawOne(std::vector<float>{-3e38f, 3e38f, 0}, {.temperature = 0.01f}), 1);
  ExpectDistribution(RandomLogits(6, 1, 2), {.temperature = 100});
}

TEST(Sampler, ADrawIsAFunctionOfSeedStreamAndIndexAlone) {
  const std::vector<float> logits = RandomLogits(50, 1, 6);
  Sampler sampler(Reference(), 50);
  std::vector<TokenId> forwards, backwards;
  for (int64_t i = 0; i < 64; ++i) forwards.push_back(sampler.Draw(logits, {}, {}, 9, i)->token);
  for (int64_t i = 64; i-- > 0;) {
    sampler.Draw(RandomLogits(50, 3, static_cast<unsigned>(i)), {.top_p = 0.5f}, {}, 1, 0);  // a neighbour
    backwards.push_back(sampler.Draw(logits, {}, {}, 9, i)->token);
  }
  std::ranges::reverse(backwards);
  EXPECT_EQ(forwards, backwards);
  std::vector<TokenId> other_seed, other_stream;
  for (int64_t i = 0; i < 64; ++i) {
    other_seed.push_back(sampler.Draw(logits, {}, {}, 10, i)->token);
    other_stream.push_back(sampler.Draw(logits, {.stream = 1}, {}, 9, i)->token);
  }
  EXPECT_NE(forwards, other_seed);
  EXPECT_NE(forwards, other_stream);
}

TEST(Sampler, RepetitionPenaltyCoversPromptAndOutputOnBothSigns) {
  TokenHistory history(std::vector<TokenId>{0}, 4, 4);
  history.AddOutput(1);
  // 4 / 2 = 2 and 3.9 / 2 for the seen, 2.5 is untouched; with negative logits the seen ones sink.
  EXPECT_EQ(DrawOne(std::vector<float>{4, 3.9f, 2.5f, 0}, {.temperature = 0, .repetition_penalty = 2}, history), 2);
  EXPECT_EQ(DrawOne(std::vector<float>{-1, -1.1f, -1.5f, -9}, {.temperature = 0, .repetition_penalty = 2}, history), 2);
  EXPECT_EQ(DrawOne(std::vector<float>{4, 3.9f, 2.5f, 0}, {.temperature = 0}, history), 0);
}

TEST(Sampler, PresenceAndFrequencyPenaltiesCountTheOutputOnly) {
  TokenHistory history(std::vector<TokenId>{0, 0, 0}, 8, 4);
  for (int i = 0; i < 3; ++i) history.AddOutput(1);
  history.AddOutput(2);
  const std::vector<float> logits{0, 3, 2.5f, 1.8f};
  const auto greedy = [&](float presence, float frequency) {
    return DrawOne(logits, {.temperature = 0, .presence_penalty = presence, .frequency_penalty = frequency}, history);
  };
  EXPECT_EQ(greedy(0, 0), 1);
  EXPECT_EQ(greedy(0.6f, 0), 1);     // 2.4, 1.9, 1.8
  EXPECT_EQ(greedy(0, 0.5f), 2);     // 1.5, 2.0, 1.8
  EXPECT_EQ(greedy(1.3f, 0), 3);     // 1.7, 1.2, 1.8
  EXPECT_EQ(greedy(0.1f, 0.7f), 3);  // 0.8, 1.7, 1.8
  // The prompt's token 0 was seen three times and pays nothing.
  EXPECT_EQ(DrawOne(std::vector<float>{1, 1.1f, 0, 0}, {.temperature = 0, .presence_penalty = 2}, history), 0);
}

TEST(Sampler, LogitBiasForcesAndBans) {
  const std::vector<float> logits{1, 9, 3};
  EXPECT_EQ(DrawOne(logits, {.temperature = 0, .logit_bias = {{2, 100}}}), 2);
  EXPECT_EQ(DrawOne(logits, {.temperature = 0, .logit_bias = {{1, -100}}}), 2);
  for (int64_t i = 0; i < 200; ++i) EXPECT_NE(DrawOne(logits, {.logit_bias = {{1, -100}}}, {}, 3, i), 1);
}

TEST(Sampler, LogprobsAreOfTheModelsOwnDistribution) {
  const std::vector<float> logits = RandomLogits(30, 3, 12);
  double sum = 0;
  for (float l : logits) sum += std::exp(double{l});
  Sampler sampler(Reference(), 30);
  SamplingParams params{.temperature = 0.7f, .top_k = 5, .logit_bias = {{3, 50}}, .logprobs = true};
  params.top_logprobs = 7;
  const auto sample = sampler.Draw(logits, params, {}, 2, 0);
  ASSERT_TRUE(sample.has_value());
  EXPECT_EQ(sample->token, 3);  // the bias forces it, its logprob is what the model said
  EXPECT_NEAR(sample->logprob, logits[3] - std::log(sum), 1e-5);
  ASSERT_EQ(sample->top.size(), 7u);
  std::vector<float> sorted = logits;
  std::ranges::sort(sorted, std::greater<>());
  for (size_t i = 0; i < 7; ++i) {
    EXPECT_NEAR(sample->top[i].logprob, sorted[i] - std::log(sum), 1e-5);
    EXPECT_EQ(logits[sample->top[i].token], sorted[i]);
  }
}

TEST(Sampler, TopLogprobsOrderTiesByIdAndStopAtTheVocabulary) {
  Sampler sampler(Reference(), 4);
  const auto sample = sampler.Draw(std::vector<float>{1, 2, 1, 2}, {.logprobs = true, .top_logprobs = 20}, {}, 2, 0);
  ASSERT_EQ(sample->top.size(), 4u);
  EXPECT_EQ(sample->top[0].token, 1);
  EXPECT_EQ(sample->top[1].token, 3);
  EXPECT_EQ(sample->top[2].token, 0);
  EXPECT_EQ(sample->top[3].token, 2);
}

TEST(Sampler, BrokenLogitsAreAnError) {
  Sampler sampler(Reference(), 3);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& logits :
       {std::vector<float>{1, nan, 2}, {nan, nan, nan}, {1, kInf, 2}, {-kInf, -kInf, -kInf}, {-kInf, nan, -kInf}}) {
    for (const SamplingParams& params :
         {SamplingParams{.temperature = 0}, SamplingParams{.top_k = 2}, SamplingParams{.top_p = 0.5f}}) {
      const auto sample = sampler.Draw(logits, params, {}, 1, 0);
      ASSERT_FALSE(sample.has_value());
      EXPECT_EQ(sample.error().code, Code::kFailed);
    }
  }
  EXPECT_EQ(sampler.Draw(std::vector<float>{-kInf, 0, -kInf}, {}, {}, 1, 0)->token, 1);
}

TEST(TokenHistory, CountsLikeAMap) {
  std::mt19937 rng(5);
  constexpr int64_t kVocab = 64;
  std::vector<TokenId> prompt;
  for (int i = 0; i < 40; ++i) prompt.push_back(static_cast<TokenId>(rng() % kVocab));
  TokenHistory history(prompt, 500, kVocab);
  std::map<TokenId, int> expected;
  for (TokenId token : prompt) expected[token] = 0;
  for (int i = 0; i < 500; ++i) {
    const TokenId token = static_cast<TokenId>(rng() % kVocab);
    history.AddOutput(token);
    ++expected[token];
  }
  std::map<TokenId, int> actual;
  for (const TokenHistory::Entry& entry : history.entries()) {
    EXPECT_TRUE(actual.emplace(entry.token, entry.output_count).second);
  }
  EXPECT_EQ(actual, expected);
}

}  // namespace
}  // namespace minke
