// GRPO's loss and gradient against the equations in double (docs/training.md), and those against central differences.
#include "minke/train/grpo.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "minke/base/rng.h"
#include "minke/engine/sampler.h"

namespace minke {
namespace {

constexpr int64_t kVocab = 11;
const KernelSet& Kernels() { return **ChooseKernelSet(""); }

struct Answer {
  std::vector<TokenId> tokens;
  std::vector<uint8_t> chosen;
  std::vector<float> old_logprobs, ref_logprobs;
  KeptSets kept;
  double advantage;
};

// Some answers one after the other, their first rows those of a prompt.
class Grpo : public testing::Test {
 protected:
  static constexpr int64_t kPrompt = 2, kLength = 6;
  static constexpr float kWeight = 0.25f;

  // `stale`: how far the old policy is from the new one. Advantages of both signs.
  void Make(const GrpoOptions& options, double stale, bool keep) {
    const Philox random(4, 7);
    uint64_t at = 0;
    const auto draw = [&] { return random.Uniform(at++); };
    const double advantages[] = {0.75, -0.5, -0.25, 0.0};
    logits_.resize(std::size(advantages) * (kPrompt + kLength) * kVocab);
    for (float& l : logits_) l = static_cast<float>(4 * draw() - 2);
    answers_.clear();
    for (size_t a = 0; a < std::size(advantages); ++a) {
      Answer& answer = answers_.emplace_back();
      answer.advantage = advantages[a];
      answer.kept.begin = {0};
      for (int64_t i = 0; i < kLength; ++i) {
        std::vector<TokenId> kept;
        for (TokenId v = 0; v < kVocab; ++v)
          if (keep && draw() < 0.5) kept.push_back(v);
        const TokenId token = kept.empty() ? static_cast<TokenId>(draw() * kVocab) : kept[kept.size() / 2];
        answer.tokens.push_back(token);
        answer.chosen.push_back(i != 2);
        answer.kept.tokens.insert(answer.kept.tokens.end(), kept.begin(), kept.end());
        answer.kept.begin.push_back(static_cast<int32_t>(answer.kept.tokens.size()));
        const double now = Logprob(a, i, options);
        // A drift of one direction in all but answer 0, so that the mask has something to decide.
        answer.old_logprobs.push_back(static_cast<float>(now + stale * (draw() - (a == 0 ? 0.5 : a == 2 ? 0.9 : 0.1))));
        answer.ref_logprobs.push_back(static_cast<float>(now + draw() - 0.5));
      }
    }
  }

  size_t Row(size_t answer, int64_t i) const {
    return answer * (kPrompt + kLength) + static_cast<size_t>(kPrompt - 1 + i);
  }
  // log softmax of logits / temperature over the kept tokens.
  double Logprob(size_t answer, int64_t i, const GrpoOptions& o) const {
    const Answer& a = answers_[answer];
    const auto at = static_cast<size_t>(i);
    const float* z = logits_.data() + Row(answer, i) * kVocab;
    const double t = static_cast<double>(o.temperature);
    double sum = 0;
    const auto begin = a.kept.tokens.begin() + a.kept.begin[at], end = a.kept.tokens.begin() + a.kept.begin[at + 1];
    for (TokenId v = 0; v < kVocab; ++v)
      if (begin == end || std::find(begin, end, v) != end) sum += std::exp(exact(z, v) / t);
    return exact(z, a.tokens[at]) / t - std::log(sum);
  }
  // A logit, moved by what the central difference moves it.
  double exact(const float* z, TokenId v) const {
    return static_cast<double>(z[v]) + (z + v == logits_.data() + moved_ ? by_ : 0);
  }

  bool Masked(size_t answer, const GrpoOptions& o) const {
    double drift = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < kLength; ++i) {
      if (!answers_[answer].chosen[static_cast<size_t>(i)]) continue;
      drift += static_cast<double>(answers_[answer].old_logprobs[static_cast<size_t>(i)]) - Logprob(answer, i, o);
      ++count;
    }
    return o.sequence_mask && answers_[answer].advantage < 0 &&
           drift / static_cast<double>(count) > static_cast<double>(o.delta);
  }
  // -J, the masks held fixed. With KL unbiased its value is rho * K3, whose gradient is rho (l - r).
  double Loss(const GrpoOptions& o, const std::vector<bool>& masked) const {
    double loss = 0;
    for (size_t a = 0; a < answers_.size(); ++a) {
      const Answer& answer = answers_[a];
      const double count = static_cast<double>(std::ranges::count(answer.chosen, 1));
      for (int64_t i = 0; i < kLength; ++i) {
        const auto at = static_cast<size_t>(i);
        if (!answer.chosen[at]) continue;
        const double l = Logprob(a, i, o), old = static_cast<double>(answer.old_logprobs[at]);
        const double r = static_cast<double>(answer.ref_logprobs[at]), ratio = std::exp(l - old);
        const double e = static_cast<double>(o.clip), clipped = std::min(std::max(ratio, 1 - e), 1 + e);
        double j = masked[a] ? 0 : std::min(ratio * answer.advantage, clipped * answer.advantage);
        const double k3 = std::exp(r - l) - (r - l) - 1;
        j -= static_cast<double>(o.beta) * (o.unbiased_kl ? ratio * k3 : k3);
        loss -= static_cast<double>(kWeight) / count * j;
      }
    }
    return loss;
  }

  std::vector<GrpoSequence> Sequences(bool keep) const {
    std::vector<GrpoSequence> sequences;
    for (size_t a = 0; a < answers_.size(); ++a)
      sequences.push_back({.first_row = static_cast<int64_t>(Row(a, 0)),
                           .tokens = answers_[a].tokens,
                           .chosen = answers_[a].chosen,
                           .old_logprobs = answers_[a].old_logprobs,
                           .ref_logprobs = answers_[a].ref_logprobs,
                           .kept = keep ? &answers_[a].kept : nullptr,
                           .advantage = static_cast<float>(answers_[a].advantage),
                           .weight = kWeight});
    return sequences;
  }
  GrpoFacts Run(const GrpoOptions& o, bool keep, std::vector<float>& gradient, int threads = 2) const {
    gradient = logits_;
    ThreadPool pool(threads);
    const std::vector<GrpoOptions> options(answers_.size(), o);
    return GrpoLoss(Kernels(), pool, {gradient.data(), {std::ssize(gradient) / kVocab, kVocab}}, Sequences(keep),
                    options);
  }

  void ExpectCentralDifferences(const GrpoOptions& o, double stale, bool keep) {
    Make(o, stale, keep);
    std::vector<float> gradient;
    const GrpoFacts facts = Run(o, keep, gradient);
    std::vector<bool> masked;
    for (size_t a = 0; a < answers_.size(); ++a) masked.push_back(Masked(a, o));
    EXPECT_NEAR(facts.loss, Loss(o, masked), 1e-6);
    EXPECT_EQ(facts.masked_sequences, std::ranges::count(masked, true));
    facts_ = facts;
    double largest = 0;
    for (size_t i = 0; i < gradient.size(); ++i) {
      const double h = 1e-5;
      moved_ = i, by_ = h;
      const double above = Loss(o, masked);
      by_ = -h;
      const double below = Loss(o, masked);
      by_ = 0;
      ASSERT_NEAR(static_cast<double>(gradient[i]), (above - below) / (2 * h), 2e-7)
          << "row " << i / kVocab << " token " << i % kVocab;
      largest = std::max(largest, std::fabs(static_cast<double>(gradient[i])));
    }
    EXPECT_GT(largest, 0.01);
    std::vector<float> alone;
    Run(o, keep, alone, 1);
    EXPECT_EQ(std::memcmp(alone.data(), gradient.data(), alone.size() * sizeof(float)), 0);
  }

  std::vector<float> logits_;
  std::vector<Answer> answers_;
  GrpoFacts facts_;
  size_t moved_ = 0;
  double by_ = 0;
};

TEST_F(Grpo, FreshAnswersHaveThePolicyGradient) {
  ExpectCentralDifferences({}, 0, false);
  EXPECT_EQ(facts_.clipped_tokens, 0);
  EXPECT_EQ(facts_.masked_sequences, 0);
  EXPECT_EQ(facts_.tokens, 4 * 5);
  EXPECT_LT(facts_.max_ratio_log, 1e-6);
}

TEST_F(Grpo, TheClipBitesOnBothSides) {
  ExpectCentralDifferences({.clip = 0.1f, .sequence_mask = false}, 1.0, false);
  int above = 0, below = 0;
  for (size_t a = 0; a < answers_.size(); ++a)
    for (int64_t i = 0; i < kLength; ++i) {
      if (!answers_[a].chosen[static_cast<size_t>(i)]) continue;
      const double ratio =
          std::exp(Logprob(a, i, {}) - static_cast<double>(answers_[a].old_logprobs[static_cast<size_t>(i)]));
      above += answers_[a].advantage > 0 && ratio > 1.1;
      below += answers_[a].advantage < 0 && ratio < 0.9;
    }
  EXPECT_GT(above, 0);
  EXPECT_GT(below, 0);
  EXPECT_EQ(facts_.clipped_tokens, above + below);
}

TEST_F(Grpo, TheMaskTakesOutBadAnswersThatDriftedAway) {
  const GrpoOptions options{.clip = 1e6f, .delta = 0.05f};
  ExpectCentralDifferences(options, 0.6, false);
  EXPECT_EQ(facts_.masked_sequences, 1);  // answer 1; answer 2 drifted the other way, answer 3 is not bad
  EXPECT_TRUE(Masked(1, options));
  GrpoOptions without = options;
  without.sequence_mask = false;
  ExpectCentralDifferences(without, 0.6, false);
}

TEST_F(Grpo, BothFormsOfTheKlTerm) {
  ExpectCentralDifferences({.beta = 0.3f, .unbiased_kl = true}, 0.6, false);
  EXPECT_GT(facts_.kl, 0);
  const double unbiased = facts_.kl;
  ExpectCentralDifferences({.beta = 0.3f, .unbiased_kl = false}, 0.6, false);
  EXPECT_NE(facts_.kl, unbiased);
  // A masked answer still has its KL term.
  ExpectCentralDifferences({.beta = 0.3f, .delta = 0.01f}, 0.6, false);
  EXPECT_EQ(facts_.masked_sequences, 1);
}

TEST_F(Grpo, TemperatureAndKeptSets) {
  ExpectCentralDifferences({.temperature = 0.6f}, 0.3, false);
  ExpectCentralDifferences({.beta = 0.1f, .temperature = 1.7f}, 0.3, true);
  ExpectCentralDifferences({.temperature = 1}, 0.3, true);
}

TEST_F(Grpo, SizesThatContradictEachOtherAreABug) {
  std::vector<float> logits(3 * kVocab);
  const TokenId tokens[] = {1, 2};
  const uint8_t chosen[] = {1, 1};
  const float old_logprobs[] = {-1, -1};
  const auto loss = [&](GrpoSequence sequence) {
    ThreadPool pool(1);
    const GrpoOptions options;
    GrpoLoss(Kernels(), pool, TensorView<float, 2>(logits.data(), {3, kVocab}), {&sequence, 1}, {&options, 1});
  };
  const GrpoSequence good = {
      .first_row = 1, .tokens = tokens, .chosen = chosen, .old_logprobs = old_logprobs, .ref_logprobs = {}};
  loss(good);
  GrpoSequence beyond = good, few = good;
  beyond.first_row = 2, few.old_logprobs = few.old_logprobs.first(1);
  EXPECT_DEATH(loss(beyond), "first_row");
  EXPECT_DEATH(loss(few), "old_logprobs");
}

TEST(PolicyLogprob, HasTheSamplersBits) {
  std::vector<float> logits(501);
  const Philox random(3, 3);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(9 * random.Uniform(i));
  Sampler sampler(Kernels(), std::ssize(logits));
  SamplingParams params;
  params.logprobs = true;
  for (const float top_p : {1.0f, 0.5f}) {  // the engine's is the model's own, whatever filters
    params.top_p = top_p;
    for (int64_t i = 0; i < 50; ++i) {
      const Sample sample = *sampler.Draw(logits, params, {}, 1, i);
      ASSERT_EQ(PolicyLogprob(Kernels(), logits, sample.token, 1, {}), sample.logprob);
    }
  }
}

}  // namespace
}  // namespace minke
