#include "minke/train/loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "minke/base/rng.h"

namespace minke {
namespace {

TEST(NextTokens, StandAPositionOrTwoAhead) {
  const std::vector<TokenId> a = {5, 6, 7}, b = {8}, c = {9, 1};
  const std::vector<std::span<const TokenId>> prompts = {a, b, c};
  const TokenId none = kNoTarget;
  EXPECT_EQ(NextTokens(prompts, 1, false), (std::vector<TokenId>{6, 7, none, none, 1, none}));
  EXPECT_EQ(NextTokens(prompts, 2, false), (std::vector<TokenId>{7, none, none, none, none, none}));
  EXPECT_EQ(NextTokens(prompts, 2, true), (std::vector<TokenId>{7, none, none}));  // no row for a prompt's last token
}

TEST(CrossEntropy, IsTheMeanOfDoublesAndItsGradientTheirs) {
  constexpr int64_t kRows = 70, kVocab = 19;
  const Philox random(1, 1);
  std::vector<float> start(kRows * kVocab);
  for (size_t i = 0; i < start.size(); ++i) start[i] = static_cast<float>(8 * random.Uniform(i) - 4);
  std::vector<TokenId> targets;
  std::vector<float> weights;
  for (int64_t r = 0; r < kRows; ++r) {
    targets.push_back(r % 5 == 0 ? kNoTarget : static_cast<TokenId>(r * 7 % kVocab));
    weights.push_back(r % 7 == 0 ? 0 : 0.01f * static_cast<float>(r));
  }
  double want = 0;
  std::vector<double> gradient(start.size());
  for (size_t r = 0; r < kRows; ++r) {
    if (targets[r] == kNoTarget) continue;
    double sum = 0;
    const float* z = start.data() + r * kVocab;
    for (size_t v = 0; v < kVocab; ++v) sum += std::exp(static_cast<double>(z[v]));
    const auto target = static_cast<size_t>(targets[r]);
    const double weight = static_cast<double>(weights[r]);
    want -= weight * (static_cast<double>(z[target]) - std::log(sum));
    for (size_t v = 0; v < kVocab; ++v)
      gradient[r * kVocab + v] = weight * (std::exp(static_cast<double>(z[v])) / sum - (v == target ? 1 : 0));
  }
  std::vector<float> first;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    std::vector<float> logits = start;
    const double loss = CrossEntropy(**ChooseKernelSet(""), pool, {logits.data(), {kRows, kVocab}}, targets, weights);
    EXPECT_NEAR(loss, want, 1e-6 * want);
    for (size_t i = 0; i < logits.size(); ++i)
      ASSERT_NEAR(static_cast<double>(logits[i]), gradient[i], 2e-7) << i / kVocab << ", " << i % kVocab;
    if (first.empty()) first = logits;
    EXPECT_EQ(logits, first) << threads << " threads";
  }
}

}  // namespace
}  // namespace minke
