// The Learner against the plain model in double (plain_model_testing.h), that one against central differences, and the
// Learner against Forward and itself: threads, neighbours, chunks and replays change no bit.
#include "minke/model/learner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "minke/base/file.h"
#include "minke/base/json.h"
#include "minke/base/rng.h"
#include "minke/model/golden_case.h"
#include "minke/model/plain_model_testing.h"

namespace minke {
namespace {

using Tokens = std::vector<TokenId>;

const KernelSet& Kernels() { return **ChooseKernelSet(""); }

// The small model of tests/data/golden/gradients with two layers, dense and MoE, of 8 experts in one group, top 2, top
// 12 keys, and an MTP layer; changed by `patch`.
ModelConfig SmallConfig(const std::string& patch = "{}") {
  const std::string file = MINKE_TEST_DATA "/golden/gradients/config.json";
  Json json = *ParseJson(*ReadFile(file, kMaxConfigBytes), file);
  json.merge_patch(*ParseJson(R"({"num_hidden_layers": 2, "hidden_size": 24, "vocab_size": 40, "intermediate_size": 20,
      "q_lora_rank": 16, "n_group": 1, "topk_group": 1, "index_topk": 7})",
                              "small"));
  json.merge_patch(*ParseJson(patch, "patch"));
  auto config = ParseModelConfig(json.dump(), "config");
  EXPECT_TRUE(config) << config.error().message;
  return *config;
}

// Random matrices of unit gain, and vectors off their neutral values, so that each takes part.
std::unique_ptr<Parameters> RandomModel(const ModelConfig& config, uint64_t seed = 3) {
  auto parameters = std::move(*Parameters::Random(config, seed, 0.25));
  for (const Parameter& p : parameters->list()) {
    if (p.kind == ParameterKind::kMatrix) continue;
    const Philox noise(seed, 1000 + static_cast<uint64_t>(p.offset));
    for (size_t i = 0; i < parameters->values_of(p).size(); ++i)
      parameters->values_of(p)[i] += 0.4f * static_cast<float>(noise.Uniform(i) - 0.5);
  }
  parameters->Publish();
  return parameters;
}

std::vector<Tokens> RandomSequences(const std::vector<int>& lengths, int64_t vocab, uint64_t seed = 11) {
  std::vector<Tokens> sequences;
  for (const int length : lengths) {
    Tokens& tokens = sequences.emplace_back();
    const Philox random(seed, sequences.size());
    for (int i = 0; i < length; ++i)
      tokens.push_back(static_cast<TokenId>(random.Uniform(static_cast<uint64_t>(i)) * static_cast<double>(vocab)));
  }
  return sequences;
}

std::vector<LearnerItem> Items(std::span<const Tokens> sequences, std::span<const Replay> replays = {}) {
  std::vector<LearnerItem> items;
  for (size_t i = 0; i < sequences.size(); ++i)
    items.push_back({sequences[i], replays.empty() ? nullptr : &replays[i]});
  return items;
}

std::unique_ptr<Learner> MakeLearner(Parameters& parameters, ThreadPool& pool, Attention attention, bool mtp) {
  auto learner = Learner::Create(parameters, Kernels(), pool,
                                 {.max_tokens = 160, .max_sequences = 8, .attention = attention, .mtp = mtp});
  EXPECT_TRUE(learner) << learner.error().message;
  return std::move(*learner);
}

std::vector<float> Copied(TensorView<const float, 2> rows) {
  return {rows.data(), rows.data() + rows.dim(0) * rows.dim(1)};
}

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0 &&
         std::ranges::all_of(a, [](float x) { return std::isfinite(x); });
}

// The logits' place takes the gradient of the mean cross-entropy against the token `ahead` positions on, times weight.
void LossGradient(TensorView<float, 2> logits, std::span<const Tokens> sequences, int64_t ahead, double weight) {
  int64_t row = 0, count = 0;
  for (const Tokens& tokens : sequences) count += std::max<int64_t>(0, std::ssize(tokens) - ahead);
  for (const Tokens& tokens : sequences)
    for (int64_t t = 0; t < std::ssize(tokens) - (ahead - 1); ++t, ++row) {
      const auto z = logits[row];
      if (weight == 0 || t + ahead >= std::ssize(tokens)) {
        std::ranges::fill(z, 0.0f);
        continue;
      }
      const double most = static_cast<double>(*std::ranges::max_element(z));
      double sum = 0;
      for (const float x : z) sum += std::exp(static_cast<double>(x) - most);
      for (float& x : z)
        x = static_cast<float>(std::exp(static_cast<double>(x) - most) / sum * weight / static_cast<double>(count));
      z[static_cast<size_t>(tokens[static_cast<size_t>(t + ahead)])] -=
          static_cast<float>(weight / static_cast<double>(count));
    }
}

struct Kind {
  const char* name;
  const char* patch;
  std::vector<int> lengths;
};
// 24 tokens a model sees at most, more than its 7 keys.
const Kind kKinds[] = {
    {"OneGroup", "{}", {24}},
    {"TwoGroups", R"({"n_group": 2, "topk_group": 1})", {13, 2, 9}},
    {"Biases", R"({"attention_bias": true, "n_shared_experts": null, "tie_word_embeddings": true})", {11, 12}},
    {"Yarn",
     R"({"rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 16, "beta_fast": 32,
         "beta_slow": 1, "mscale": 0.8, "mscale_all_dim": 1.0}})",
     {24}},
    {"SoftmaxWithoutQueryCompression",
     R"({"model_type": "deepseek_v2", "q_lora_rank": null, "scoring_func": "softmax", "topk_method": "greedy",
         "norm_topk_prob": false, "num_nextn_predict_layers": 0, "index_topk": null, "index_n_heads": null,
         "index_head_dim": null})",
     {24}},
    {"SharedIndexer",
     R"({"model_type": "glm_moe_dsa", "num_hidden_layers": 3, "indexer_types": ["full", "shared", "full"],
         "rope_parameters": {"rope_theta": 10000, "rope_type": "default"}, "rope_theta": null, "rope_scaling": null})",
     {24}},
};

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

class Gradients : public testing::TestWithParam<Kind> {
 protected:
  Gradients()
      : config_(SmallConfig(GetParam().patch)),
        parameters_(RandomModel(config_)),
        mtp_(config_.num_nextn_predict_layers > 0),
        sequences_(RandomSequences(GetParam().lengths, config_.vocab_size)) {}

  const ModelConfig config_;
  const std::unique_ptr<Parameters> parameters_;
  const bool mtp_;
  const std::vector<Tokens> sequences_;
  // Of like size in the gradient.
  const PlainWeights all_{.lm = 1, .mtp = 0.5, .balance = 0.3, .kl = 0.05};
};

double Norm(std::span<const double> v) {
  double sum = 0;
  for (const double x : v) sum += x * x;
  return std::sqrt(sum);
}

// The derivative along random directions of +-1, which the gradient's norm is the size of.
TEST_P(Gradients, OfThePlainModelAreThoseOfCentralDifferences) {
  for (const bool dense : {false, true}) {
    if (!config_.has_indexer() && !dense) continue;
    PlainModel model(*parameters_, dense, mtp_);
    model.Forward(sequences_, all_);
    model.Backward();
    const PlainTensors gradients = model.gradients;
    for (const Parameter& p : parameters_->list()) {
      if (p.kind == ParameterKind::kRouterBias) continue;  // acts on the choice alone
      const std::vector<double>& gradient = gradients.at(p.name);
      std::vector<double>& values = model.weights.at(p.name);
      const std::vector<double> start = values;
      const Philox signs(5, static_cast<uint64_t>(p.offset));
      const auto sign = [&](size_t i) { return signs.Uniform(i) < 0.5 ? -1.0 : 1.0; };
      const auto loss_at = [&](double h) {
        for (size_t i = 0; i < values.size(); ++i) values[i] = start[i] + h * sign(i);
        const PlainModel::Losses l = model.Forward(sequences_, all_);
        // The indexers learn from their own loss alone, and nothing else does: its other inputs are constants.
        return p.indexer ? all_.kl * l.kl : all_.lm * l.lm + all_.mtp * l.mtp + all_.balance * l.balance;
      };
      // Fourth order, so that a step may be small enough to cross no kink of relu.
      const double h = 1e-6;
      const double numeric = (8 * (loss_at(h) - loss_at(-h)) - (loss_at(2 * h) - loss_at(-2 * h))) / (12 * h);
      values = start;
      double along = 0;
      for (size_t i = 0; i < gradient.size(); ++i) along += gradient[i] * sign(i);
      const double norm = Norm(gradient);
      const bool may_be_idle = p.name.find(".experts.") != std::string::npos;  // no token has chosen it
      EXPECT_TRUE(norm > 0 || may_be_idle) << p.name;
      EXPECT_LE(std::fabs(along - numeric), 1e-6 * norm)
          << p.name << (dense ? ", dense" : ", dsa") << ": " << along << " and " << numeric;
    }
  }
}

// Each loss apart, so that a small one does not hide behind another.
TEST_P(Gradients, OfTheLearnerAreThePlainModels) {
  struct Loss {
    const char* name;
    PlainWeights weights;
  };
  const Loss losses[] = {
      {"lm", {.lm = 1}}, {"mtp", {.mtp = 1}}, {"kl", {.kl = 0.05}}, {"balance", {.balance = 1}}, {"all", all_}};
  ThreadPool pool(2);
  for (const Attention attention : {Attention::kDsa, Attention::kDense}) {
    const bool dense = attention == Attention::kDense;
    const auto learner = MakeLearner(*parameters_, pool, attention, mtp_);
    PlainModel model(*parameters_, dense, mtp_);
    for (const Loss& loss : losses) {
      const PlainWeights& w = loss.weights;
      if ((w.mtp > 0 && w.lm == 0 && !mtp_) || (w.kl > 0 && w.lm == 0 && !config_.has_indexer())) continue;
      SCOPED_TRACE(std::string(loss.name) + (dense ? ", dense" : ", dsa"));
      const PlainModel::Losses plain = model.Forward(sequences_, w);
      model.Backward();
      learner->ClearGradients();
      const auto logits = learner->Forward(Items(sequences_));
      const std::vector<Replay> choices = learner->Choices();
      for (size_t s = 0; s < sequences_.size(); ++s)  // both must have met the same choices
        for (int64_t layer = 0; layer < config_.num_hidden_layers; ++layer)
          for (size_t t = 0; config_.is_moe_layer[static_cast<size_t>(layer)] && t < sequences_[s].size(); ++t)
            for (size_t k = 0; k < 2; ++k)
              ASSERT_EQ(choices[s].experts[(static_cast<size_t>(layer) * sequences_[s].size() + t) * 2 + k],
                        model.experts(s, layer)[t][k]);
      LossGradient(logits, sequences_, 1, w.lm);
      if (mtp_) LossGradient(learner->MtpLogits(), sequences_, 2, w.mtp);
      const BackwardLosses backward = learner->Backward({.model = w.lm + w.mtp + w.balance > 0,
                                                         .indexer_weight = static_cast<float>(w.kl),
                                                         .balance_weight = static_cast<float>(w.balance)});
      if (w.kl > 0) {
        EXPECT_NEAR(backward.indexer_kl, plain.kl, 2e-5 * plain.kl);
      }
      if (w.balance > 0) {
        EXPECT_NEAR(backward.balance, plain.balance, 1e-5 * plain.balance);
      }
      for (const Parameter& p : parameters_->list()) {
        const std::vector<double>& want = model.gradients.at(p.name);
        const auto got = learner->gradients().subspan(static_cast<size_t>(p.offset), static_cast<size_t>(p.size));
        std::vector<double> error(want.size());
        for (size_t i = 0; i < want.size(); ++i) error[i] = static_cast<double>(got[i]) - want[i];
        EXPECT_LE(Norm(error), 2e-5 * Norm(want)) << p.name << " of norm " << Norm(want);
      }
    }
  }
}

std::string KindName(const testing::TestParamInfo<Kind>& instance) { return instance.param.name; }
INSTANTIATE_TEST_SUITE_P(Models, Gradients, testing::ValuesIn(kKinds), KindName);

// Enough rows for several pieces and tiles, in sequences that end within them.
class Bits : public testing::TestWithParam<Attention> {
 protected:
  const ModelConfig config_ = SmallConfig(R"({"n_group": 2, "topk_group": 1})");
  const std::unique_ptr<Parameters> parameters_ = RandomModel(config_);
  const std::vector<Tokens> sequences_ = RandomSequences({70, 1, 33, 2, 40}, config_.vocab_size);
};

TEST_P(Bits, OfGradientsAreTheSameOnAnyNumberOfThreads) {
  std::vector<float> first;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    const auto learner = MakeLearner(*parameters_, pool, GetParam(), true);
    LossGradient(learner->Forward(Items(sequences_)), sequences_, 1, 1);
    LossGradient(learner->MtpLogits(), sequences_, 2, 0.3);
    learner->Backward({.model = true, .indexer_weight = 0.01f, .balance_weight = 0.1f});
    const auto gradients = learner->gradients();
    if (first.empty()) first.assign(gradients.begin(), gradients.end());
    EXPECT_TRUE(SameBits(first, gradients)) << threads << " threads";
  }
}

TEST_P(Bits, OfLogitsAreThoseOfForward) {
  ThreadPool one(1), two(2);
  const auto learner = MakeLearner(*parameters_, two, GetParam(), false);
  const std::vector<float> together = Copied(learner->Forward(Items(sequences_)));
  auto forward = Forward::Create(*parameters_->model(), Kernels(), one,
                                 {.max_batch_tokens = 128, .max_context = 128, .attention = GetParam()});
  ASSERT_TRUE(forward) << forward.error().message;
  size_t at = 0;
  for (const Tokens& tokens : sequences_) {
    const size_t floats = tokens.size() * static_cast<size_t>(config_.vocab_size);
    const std::span<const float> mine(together.data() + at, floats);
    at += floats;
    EXPECT_TRUE(SameBits(mine, Copied(learner->Forward(Items({&tokens, 1}))))) << "alone";
    for (const size_t chunk : {size_t{1}, size_t{7}, tokens.size()}) {
      const TestCache cache(parameters_->model()->cache_layout(), 128);
      std::vector<float> logits;
      for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
        const BatchItem item{
            .tokens = std::span<const TokenId>(tokens).subspan(begin, std::min(chunk, tokens.size() - begin)),
            .first_pos = static_cast<int64_t>(begin),
            .pages = cache.pages(),
            .logits = BatchItem::Logits::kAll};
        const std::vector<float> rows = Copied((*forward)->Run({&item, 1}));
        logits.insert(logits.end(), rows.begin(), rows.end());
      }
      EXPECT_TRUE(SameBits(mine, logits)) << tokens.size() << " tokens in chunks of " << chunk;
    }
  }
}

TEST_P(Bits, AReplayOfWhatWasChosenChangesNone) {
  ThreadPool pool(2);
  const auto learner = MakeLearner(*parameters_, pool, GetParam(), false);
  const auto run = [&](std::span<const Replay> replays) {
    learner->ClearGradients();
    std::vector<float> all = Copied(learner->Forward(Items(sequences_, replays)));
    const std::vector<Replay> choices = learner->Choices();
    for (size_t i = 0; i < replays.size(); ++i) {
      EXPECT_TRUE(replays[i].experts.empty() || choices[i].experts == replays[i].experts);
      EXPECT_TRUE(replays[i].topk.empty() || choices[i].topk == replays[i].topk);
    }
    LossGradient(learner->Forward(Items(sequences_, replays)), sequences_, 1, 1);
    learner->Backward({.model = true, .indexer_weight = 0.01f});
    const auto gradients = learner->gradients();
    all.insert(all.end(), gradients.begin(), gradients.end());
    return all;
  };
  const std::vector<float> anew = run({});
  const std::vector<Replay> choices = learner->Choices();
  EXPECT_TRUE(SameBits(anew, run(choices)));
  std::vector<Replay> experts_only = choices, keys_only = choices, other_experts = choices, other_keys = choices;
  for (Replay& r : experts_only) r.topk.clear(), r.num_selected.clear();
  for (Replay& r : keys_only) r.experts.clear();
  EXPECT_TRUE(SameBits(anew, run(experts_only)));
  EXPECT_TRUE(SameBits(anew, run(keys_only)));

  const size_t width = static_cast<size_t>(config_.num_experts_per_tok);
  std::vector<int32_t>& experts = other_experts[0].experts;  // of layer 1's first token; layer 0 is dense
  const size_t first = sequences_[0].size() * width;
  experts[first] = experts[first] == 0 ? 1 : 0;
  experts[first + 1] = experts[first + 1] == 7 ? 6 : 7;
  EXPECT_FALSE(SameBits(anew, run(other_experts)));
  if (GetParam() == Attention::kDense) {
    EXPECT_TRUE(choices[0].topk.empty());
    return;
  }
  const size_t row = 20, topk = static_cast<size_t>(config_.index_topk);  // sees 21 keys, has chosen 7
  for (size_t i = 0; i < topk; ++i) other_keys[0].topk[row * topk + i] = static_cast<int32_t>(i);
  ASSERT_NE(other_keys[0].topk, choices[0].topk);
  EXPECT_FALSE(SameBits(anew, run(other_keys)));
}

std::string AttentionName(const testing::TestParamInfo<Attention>& instance) {
  return instance.param == Attention::kDsa ? "Dsa" : "Dense";
}
INSTANTIATE_TEST_SUITE_P(Attentions, Bits, testing::Values(Attention::kDsa, Attention::kDense), AttentionName);

TEST(Learner, GradientsAddUpAndLoadsCount) {
  const ModelConfig config = SmallConfig();
  const auto parameters = RandomModel(config);
  const auto sequences = RandomSequences({20, 12}, config.vocab_size);
  ThreadPool pool(1);
  const auto learner = MakeLearner(*parameters, pool, Attention::kDsa, true);
  const auto once = [&] {
    LossGradient(learner->Forward(Items(sequences)), sequences, 1, 1);
    LossGradient(learner->MtpLogits(), sequences, 2, 1);
    learner->Backward({});
  };
  once();
  const std::vector<float> first(learner->gradients().begin(), learner->gradients().end());
  once();
  double error = 0, norm = 0;
  for (size_t i = 0; i < first.size(); ++i) {
    error += std::fabs(static_cast<double>(learner->gradients()[i]) - 2 * static_cast<double>(first[i]));
    norm += std::fabs(static_cast<double>(first[i]));
  }
  EXPECT_LT(error, 1e-5 * norm);
  EXPECT_GT(norm, 0);
  const auto loads = learner->expert_loads();
  ASSERT_EQ(loads.dim(0), 3);
  const int64_t wanted[] = {0, 2 * 2 * 32, 2 * 2 * 30};  // dense, two forwards of top 2, the MTP layer's fewer rows
  for (int64_t layer = 0; layer < 3; ++layer)
    EXPECT_EQ(std::accumulate(loads[layer].begin(), loads[layer].end(), int64_t{0}), wanted[layer]);
  learner->ClearExpertLoads();
  EXPECT_EQ(learner->expert_loads()[1][0], 0);
  learner->ClearGradients();
  EXPECT_TRUE(std::ranges::all_of(learner->gradients(), [](float g) { return g == 0; }));
}

TEST(Learner, WhatContradictsTheModelIsRefused) {
  const ModelConfig config = SmallConfig(R"({"num_nextn_predict_layers": 0})");
  const auto parameters = RandomModel(config);
  ThreadPool pool(1);
  const auto code = [&](LearnerOptions options) {
    const auto learner = Learner::Create(*parameters, Kernels(), pool, options);
    return learner ? std::nullopt : std::optional(learner.error().code);
  };
  EXPECT_EQ(code({.max_tokens = 32}), std::nullopt);
  EXPECT_EQ(code({.max_tokens = 32, .mtp = true}), Code::kInvalidArgument);
  EXPECT_EQ(code({.max_tokens = 0}), Code::kInvalidArgument);
  EXPECT_EQ(code({.max_tokens = 32, .max_sequences = 0}), Code::kInvalidArgument);
  EXPECT_EQ(code({.max_tokens = 1 << 20}), Code::kInvalidArgument);
  EXPECT_EQ(code({.max_tokens = 32, .max_context = 1 << 20}), Code::kInvalidArgument);
}

}  // namespace
}  // namespace minke
