// Rollouts on nano through the engine.
#include "minke/train/rollout.h"

#include <gtest/gtest.h>

#include "minke/model/model.h"
#include "minke/train/evaluate.h"

namespace minke {
namespace {

const Tokenizer& NanoTokenizer() {
  static const auto tokenizer = Tokenizer::Open(std::string(MINKE_TEST_DATA) + "/nano-hf");
  EXPECT_TRUE(tokenizer.has_value());
  return **tokenizer;
}

std::unique_ptr<Engine> OpenNano(int64_t max_sequences, int64_t max_batch_tokens = 128) {
  static const std::shared_ptr<const Model> model = [] {
    auto opened = Model::Open(std::string(MINKE_TEST_DATA) + "/nano-hf");
    EXPECT_TRUE(opened.has_value());
    return std::shared_ptr<const Model>(std::move(*opened));
  }();
  EngineOptions options;
  options.model = model;
  options.context = 512;
  options.max_sequences = max_sequences, options.max_batch_tokens = max_batch_tokens;
  options.token_bytes = [](TokenId id) { return NanoTokenizer().TokenBytes(id); };
  auto engine = Engine::Open(options);
  EXPECT_TRUE(engine.has_value());
  return std::move(*engine);
}

std::vector<RolloutRequest> Requests(const Task& task, size_t count, int64_t budget) {
  std::vector<RolloutRequest> requests(count);
  for (size_t i = 0; i < count; ++i) {
    requests[i].prompt = *EncodePrompt(NanoTokenizer(), task.Make(1, i, Split::kHeldOut), {});
    requests[i].params = {.temperature = 0.6f, .seed = 3, .stream = i, .max_tokens = 300, .logprobs = true};
    requests[i].think_budget = budget;
    requests[i].answer_tokens = budget > 0 ? 24 : 0;
    requests[i].environment = task.MakeEnvironment(true);
  }
  return requests;
}

std::vector<Rollout> RunAll(Engine& engine, std::vector<RolloutRequest> requests) {
  auto rollouts = RunRollouts(engine, NanoTokenizer(), requests);
  EXPECT_TRUE(rollouts.has_value()) << (rollouts ? "" : rollouts.error().message);
  return rollouts ? std::move(*rollouts) : std::vector<Rollout>();
}

std::unique_ptr<const Task> Find(std::string_view name) { return std::move(*FindTask(name)); }

void ExpectConsistent(const Rollout& rollout) {
  ASSERT_EQ(rollout.tokens.size(), rollout.chosen.size());
  ASSERT_EQ(rollout.tokens.size(), rollout.logprobs.size());
  for (size_t i = 0; i < rollout.tokens.size(); ++i) {
    EXPECT_LE(rollout.logprobs[i], 0);
    EXPECT_TRUE(rollout.chosen[i] || rollout.logprobs[i] == 0);
  }
  std::vector<TokenId> tokens = rollout.tokens;
  if (rollout.ended) tokens.pop_back();
  EXPECT_EQ(NanoTokenizer().Decode(tokens), rollout.text);
}

TEST(Rollout, WithoutLimitsItIsTheEnginesAnswer) {
  const auto task = Find("countdown");
  const auto engine = OpenNano(8);
  for (const Rollout& rollout : RunAll(*engine, Requests(*task, 8, 0))) {
    ExpectConsistent(rollout);
    EXPECT_EQ(rollout.num_chosen(), std::ssize(rollout.tokens));
    EXPECT_TRUE(rollout.ended);
    EXPECT_FALSE(rollout.forced);
    EXPECT_EQ(rollout.text, rollout.reasoning + "</think>" + rollout.content);
  }
}

TEST(Rollout, ABudgetClosesTheThinkingAndNothingElseChanges) {
  const auto task = Find("countdown");
  const auto engine = OpenNano(8);
  const std::vector<Rollout> whole = RunAll(*engine, Requests(*task, 12, 0));
  const std::vector<Rollout> cut = RunAll(*engine, Requests(*task, 12, 30));
  int forced = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    ExpectConsistent(cut[i]);
    EXPECT_EQ(cut[i].forced, whole[i].think_tokens >= 30) << i;
    if (!cut[i].forced) {
      EXPECT_EQ(cut[i].tokens, whole[i].tokens);
      continue;
    }
    ++forced;
    EXPECT_EQ(cut[i].think_tokens, 30);
    EXPECT_EQ(cut[i].tokens[30], NanoTokenizer().TokenToId("</think>"));
    EXPECT_EQ(cut[i].num_chosen(), std::ssize(cut[i].tokens) - 1);
    EXPECT_EQ(cut[i].chosen[30], 0);
    EXPECT_LE(std::ssize(cut[i].tokens), 31 + 24);
    for (size_t t = 0; t < 30; ++t) {
      EXPECT_EQ(cut[i].tokens[t], whole[i].tokens[t]);
      EXPECT_EQ(cut[i].logprobs[t], whole[i].logprobs[t]);
    }
  }
  EXPECT_GT(forced, 2);
  EXPECT_LT(forced, 12);
}

TEST(Rollout, TheCalculatorWritesEveryResultInAnyCompany) {
  const auto task = Find("countdown-tool");
  const auto together = OpenNano(16), alone = OpenNano(1, 7);
  const std::vector<Rollout> rollouts = RunAll(*together, Requests(*task, 4, 60));
  const std::vector<Rollout> others = RunAll(*alone, Requests(*task, 4, 60));
  for (size_t i = 0; i < rollouts.size(); ++i) {
    const Rollout& rollout = rollouts[i];
    ExpectConsistent(rollout);
    EXPECT_EQ(rollout.tokens, others[i].tokens);
    EXPECT_EQ(rollout.logprobs, others[i].logprobs);
    const TokenId equals = *NanoTokenizer().TokenToId("=");
    for (size_t t = 0; t + 1 < rollout.tokens.size(); ++t)
      EXPECT_TRUE(rollout.tokens[t] != equals || !rollout.chosen[t + 1]);
    EXPECT_LT(rollout.num_chosen(), std::ssize(rollout.tokens));
  }
}

// Answers the first end with one more turn.
class OneMoreTurn : public Environment {
 public:
  std::string OnEnd(std::string_view /*text*/) override { return std::exchange(done_, true) ? "" : "\n<think>"; }

 private:
  bool done_ = false;
};

TEST(Rollout, AnEnvironmentMayAnswerTheEndAndTheModelThinksAgain) {
  const auto engine = OpenNano(4);
  std::vector<RolloutRequest> requests = Requests(*Find("countdown"), 3, 40);
  for (RolloutRequest& request : requests) request.environment = std::make_unique<OneMoreTurn>();
  for (const Rollout& rollout : RunAll(*engine, std::move(requests))) {
    EXPECT_NE(rollout.text.find("</think>"), std::string::npos);
    EXPECT_NE(rollout.reasoning.find("\n<think>"), std::string::npos);
    EXPECT_LE(rollout.think_tokens, 40);
    EXPECT_EQ(rollout.content.find("think>"), std::string::npos);
  }
}

TEST(Rollout, ARefusedRequestEndsAllWithItsError) {
  const auto engine = OpenNano(4);
  std::vector<RolloutRequest> requests = Requests(*Find("countdown"), 6, 0);
  requests[3].prompt.push_back(512);
  const auto refused = RunRollouts(*engine, NanoTokenizer(), requests);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_EQ(engine->stats().running + engine->stats().waiting, 0);
}

TEST(Evaluate, GivesTheSharesThatVerdictsHave) {
  TaskScore score;
  Rollout rollout;
  rollout.think_tokens = 10, rollout.chosen = {1, 0, 1};
  score.Add({.right = true, .attempts = 4, .distinct_attempts = 3, .steps = 8, .correct_steps = 6, .hit_attempt = 3},
            rollout);
  score.Add({.attempts = 2, .distinct_attempts = 2, .steps = 2, .correct_steps = 2}, rollout);
  EXPECT_EQ(score.accuracy(), 0.5);
  EXPECT_NEAR(score.standard_error(), 0.3536, 1e-4);
  EXPECT_EQ(score.within(2), 0);
  EXPECT_EQ(score.within(4), 0.5);
  EXPECT_EQ(score.distinct_attempts(), 5.0 / 6);
  EXPECT_EQ(score.correct_steps(), 0.8);
  EXPECT_EQ(score.output_tokens(), 2);
}

TEST(Evaluate, ReadsProblemsAndNamesTheBadLine) {
  const auto task = Find("countdown");
  const std::string good = R"({"prompt": "p", "numbers": [1, 2, 3], "target": 12})";
  EXPECT_EQ(ReadProblems(*task, good + "\n\n" + good, "f", 10)->size(), 2u);
  EXPECT_EQ(ReadProblems(*task, good + "\n" + good, "f", 1)->size(), 1u);
  EXPECT_EQ(ReadProblems(*task, good + "\n\n{}", "f", 10).error().message.substr(0, 4), "f:3:");
  EXPECT_FALSE(ReadProblems(*task, "\n", "f", 10).has_value());
}

}  // namespace
}  // namespace minke
