// GRPO runs on a model that knows nothing, rewarded by its letters: what has to be the same bytes, and what not.
#include "minke/train/rl.h"

#include <cmath>

#include "minke/train/small_run_testing.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

class Rl : public SmallRun {
 protected:
  // 8 questions of 4 answers, 24 tokens each at most.
  RlConfig Config() {
    RlConfig config;
    config.out = Path(fmt::format("run-{}", runs_++)), config.model = "small", config.seed = 2;
    config.steps = 1, config.questions = 8, config.answers = 4, config.mini_batches = 1;
    config.micro_tokens = 512, config.max_tokens = 24, config.max_sequences = 32;
    config.lr = 2e-3;
    RlTask task;
    task.name = "sort:2", task.think_budget = 16, task.answer_tokens = 4;
    task.reward.language = 1;
    config.tasks = {task};
    return config;
  }
  Result<RlResult> TryRun(const RlConfig& config, int threads = 1, const RlHooks& hooks = {}) {
    const auto parameters = NewModel(0.15);
    ThreadPool pool(threads);
    return TrainByReward(config, *parameters, files_, *tokenizer_, choice_, TestKernels(), pool, hooks);
  }
  // The model's bytes.
  std::string Run(RlConfig config, int threads = 1) {
    config.out = Path(fmt::format("run-{}", runs_++));
    RlHooks hooks;
    hooks.on_step = [&](const RlReport& r) { last_ = r; };
    const auto result = TryRun(config, threads, hooks);
    EXPECT_TRUE(result) << result.error().message;
    if (!result) return "";
    EXPECT_EQ(result->on_policy_max_abs_diff, 0);
    EXPECT_LT(last_.skipped_questions, config.questions) << "nothing was learned";
    EXPECT_GT(last_.tokens, 0);
    return Bytes(config.out + "/model/model.safetensors");
  }

  int runs_ = 0;
  RlReport last_;
};

// The contract (docs/training.md): no difference at all between rollout and learner, in any shape of either; the runs
// would end with an error at the first.
TEST_F(Rl, RolloutAndLearnerAgreeToTheBit) {
  for (const bool dense : {false, true})
    for (const bool filters : {false, true}) {
      RlConfig config = Config();
      config.dense = dense, config.mini_batches = 2, config.steps = 2;
      if (filters) config.top_p = 0.9f, config.temperature = config.grpo.temperature = 0.8f;
      const std::string first = Run(config, 1);
      for (const int64_t sequences : {1, 3, 128}) {
        config.max_sequences = sequences;
        EXPECT_TRUE(Run(config, sequences == 3 ? 2 : 1) == first) << sequences << " sequences in a batch";
      }
      config.micro_tokens = 40;  // a sequence at a time: other sums, the same log-probabilities
      Run(config, 2);
    }
}

TEST_F(Rl, StabilisersAreInertWhileAnswersAreFresh) {
  RlConfig config = Config();
  config.tasks[0].beta = 0.1;  // against a reference that is the policy itself
  const std::string all = Run(config);
  EXPECT_EQ(last_.clipped, 0);
  EXPECT_EQ(last_.masked, 0);
  const auto without = [&](const char* what, auto&& change) {
    RlConfig other = config;
    change(other);
    EXPECT_TRUE(Run(other) == all) << what;
  };
  without("clip", [](RlConfig& c) { c.grpo.clip = 1e6f; });
  without("sequence mask", [](RlConfig& c) { c.grpo.sequence_mask = false; });
  without("keep routing", [](RlConfig& c) { c.keep_routing = false; });
  without("index replay", [](RlConfig& c) { c.replay_index = false; });
  without("unbiased KL", [](RlConfig& c) { c.grpo.unbiased_kl = false; });
}

TEST_F(Rl, StabilisersMatterOnceAnswersAreStale) {
  RlConfig config = Config();
  config.mini_batches = 4, config.lr = 2e-2;  // far, in four updates
  config.grpo.clip = 0.1f, config.grpo.delta = 0.01f;
  config.tasks[0].beta = 0.1;
  config.top_p = 0.9f;
  const std::string all = Run(config);
  const RlReport with = last_;
  EXPECT_GT(with.clipped, 0);
  EXPECT_GT(with.masked, 0);
  std::map<std::string, double> drift = {{"nothing", with.mean_ratio_log}};
  const auto without = [&](const char* what, auto&& change) {
    RlConfig other = config;
    change(other);
    EXPECT_TRUE(Run(other) != all) << what;
    drift[what] = last_.mean_ratio_log;
  };
  without("clip", [](RlConfig& c) { c.grpo.clip = 1e6f; });
  without("sequence mask", [](RlConfig& c) { c.grpo.sequence_mask = false; });
  without("keep routing", [](RlConfig& c) { c.keep_routing = false; });
  without("index replay", [](RlConfig& c) { c.replay_index = false; });
  without("sampling mask", [](RlConfig& c) { c.keep_sampling_mask = false; });
  without("unbiased KL", [](RlConfig& c) { c.grpo.unbiased_kl = false; });
  for (const auto& [what, value] : drift)
    RecordProperty("mean |log ratio| without " + std::string(what), fmt::format("{}", value));
}

TEST_F(Rl, ARunInterruptedAnywhereEndsWithTheSameBytes) {
  RlConfig config = Config();
  config.steps = 5, config.mini_batches = 2, config.checkpoint_every = 2, config.indexer_lr = 1e-3;
  config.reference_every = 2, config.tasks[0].beta = 0.05, config.warmup_steps = 2;
  const std::string whole = Run(config);
  for (int stop = 1; stop < 5; ++stop) {
    config.out = Path(fmt::format("at-{}", stop));
    int left = stop;
    RlHooks hooks;
    hooks.should_stop = [&] { return --left <= 0; };
    const auto first = TryRun(config, 1, hooks);
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_FALSE(first->finished);
    const auto second = TryRun(config, 2);
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_EQ(second->resumed_at, stop);
    EXPECT_TRUE(Bytes(config.out + "/model/model.safetensors") == whole) << "stopped after " << stop;
  }
  // A kill loses the steps since the last checkpoint, and may leave a younger reference.
  config.out = Path("killed");
  RlHooks hooks;
  int left = 3;
  hooks.should_stop = [&] { return --left <= 0; };
  ASSERT_TRUE(TryRun(config, 1, hooks));
  fs::remove_all(config.out + "/step-00000003");
  const auto result = TryRun(config);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->resumed_at, 2);
  EXPECT_TRUE(Bytes(config.out + "/model/model.safetensors") == whole);
}

// The reference is renewed more often than a checkpoint is written: the one that the checkpoint names is still there.
TEST_F(Rl, AKilledRunFindsItsReference) {
  RlConfig config = Config();
  config.steps = 5, config.checkpoint_every = 3, config.reference_every = 1, config.tasks[0].beta = 0.05;
  const std::string whole = Run(config);
  config.out = Path("killed");
  ASSERT_TRUE(TryRun(config));
  fs::remove_all(config.out + "/step-00000005");
  const auto result = TryRun(config);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->resumed_at, 3);
  EXPECT_TRUE(Bytes(config.out + "/model/model.safetensors") == whole);
  EXPECT_FALSE(fs::exists(config.out + "/reference-2")) << "nobody needs it";
}

TEST_F(Rl, AnAnswerThatTheContextEndsIsCounted) {
  RlConfig config = Config();
  EXPECT_EQ((Run(config), last_.cut), 0);
  config.max_tokens = config_.max_position_embeddings - 1;
  config.tasks[0].think_budget = 0, config.tasks[0].answer_tokens = config.max_tokens;
  Run(config);
  EXPECT_GT(last_.cut, 0);
  EXPECT_LE(last_.cut, config.questions * config.answers);
  config.max_tokens = config_.max_position_embeddings;
  config.out = Path("none");
  const auto refused = TryRun(config);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("max_tokens (256)"), std::string::npos) << refused.error().message;
}

// Threads change no bytes, and are recorded; a tokenizer does, and is refused; a kernel set may, and is said.
TEST_F(Rl, WhatARunRanWithIsRecorded) {
  RlConfig config = Config();
  config.steps = 2, config.checkpoint_every = 1;
  RlHooks hooks;
  std::vector<std::string> warnings;
  hooks.should_stop = [] { return true; };
  hooks.on_warning = [&](const std::string& text) { warnings.push_back(text); };
  ASSERT_TRUE(TryRun(config, 2, hooks));
  auto& tokenizer = files_.texts[0].second;
  tokenizer += " ";
  EXPECT_EQ(TryRun(config, 2, hooks).error().code, Code::kCannotResume);
  tokenizer.pop_back();
  ASSERT_TRUE(TryRun(config, 1, hooks));
  EXPECT_TRUE(warnings.empty());
  const Json state = (*ParseJson(Bytes(config.out + "/step-00000002/training.json"), "state"))["state"];
  ASSERT_EQ(state["runs"].size(), 2u);
  EXPECT_EQ(state["runs"][0]["threads"], 2);
  EXPECT_EQ(state["runs"][1]["threads"], 1);
  EXPECT_EQ(state["runs"][1]["from_step"], 1);
  EXPECT_EQ(state["runs"][1]["kernels"], TestKernels().name);
  config.steps = 3;
  const auto parameters = NewModel(0.15);
  ThreadPool pool(1);
  ASSERT_TRUE(
      TrainByReward(config, *parameters, files_, *tokenizer_, choice_, **ChooseKernelSet("reference"), pool, hooks));
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("bytes may differ"), std::string::npos);
}

TEST_F(Rl, AnotherConfigurationCannotResume) {
  RlConfig config = Config();
  config.steps = 2;
  RlHooks hooks;
  hooks.should_stop = [] { return true; };
  ASSERT_TRUE(TryRun(config, 1, hooks));
  const auto before = AllBytes(config.out);
  RlConfig other = config;
  other.grpo.clip = 0.3f;
  const auto refused = TryRun(other);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCannotResume);
  EXPECT_NE(refused.error().message.find("(grpo differs)"), std::string::npos) << refused.error().message;
  EXPECT_TRUE(AllBytes(config.out) == before);
  other = config;
  other.max_sequences = 2, other.steps = 3, other.checkpoint_every = 1;  // change no weight that is there
  EXPECT_TRUE(TryRun(other));
}

}  // namespace
}  // namespace minke
