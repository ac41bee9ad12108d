// For the engine's tests: nano, its expected answers, and a caller that collects what a request was told.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "minke/base/file.h"
#include "minke/base/json.h"
#include "minke/engine/engine.h"

namespace minke {

// Sanitizers make the kernels 30 times slower; they look for races and bad reads, which fewer repetitions show too.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
inline constexpr bool kSanitized = __has_feature(thread_sanitizer) || __has_feature(address_sanitizer);
#else
inline constexpr bool kSanitized = false;
#endif

inline std::shared_ptr<const Model> Nano() {
  static const std::shared_ptr<const Model> model = [] {
    auto opened = Model::Open(std::string(MINKE_TEST_DATA) + "/nano-hf");
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error().message);
    return opened ? std::shared_ptr<const Model>(std::move(*opened)) : nullptr;
  }();
  return model;
}

struct Example {
  std::vector<TokenId> prompt, output;
};

// tests/data/nano-hf/expected.jsonl: prompts with their greedy answers.
inline const std::vector<Example>& Examples() {
  static const std::vector<Example> examples = [] {
    std::vector<Example> all;
    const auto text = ReadFile(std::string(MINKE_TEST_DATA) + "/nano-hf/expected.jsonl", 16 << 20);
    EXPECT_TRUE(text.has_value());
    size_t begin = 0;
    while (text && begin < text->size()) {
      const size_t end = std::min(text->find('\n', begin), text->size());
      const auto line = ParseJson(std::string_view(*text).substr(begin, end - begin), "expected.jsonl");
      EXPECT_TRUE(line.has_value());
      all.push_back({(*line)["prompt_ids"], (*line)["output_ids"]});
      begin = end + 1;
    }
    return all;
  }();
  return examples;
}

inline EngineOptions NanoOptions() {
  EngineOptions options;
  options.model = Nano();
  options.max_batch_tokens = 128;
  options.poison_cache = true;
  return options;
}

inline std::unique_ptr<Engine> OpenEngine(const EngineOptions& options) {
  auto engine = Engine::Open(options);
  EXPECT_TRUE(engine.has_value()) << (engine ? "" : engine.error().message);
  return engine ? std::move(*engine) : nullptr;
}

// What one request was told. Shared with the sink, so that either may go first.
class Answer {
 public:
  // A sink that fills this answer.
  static TokenSink SinkOf(const std::shared_ptr<Answer>& answer) {
    TokenSink sink;
    sink.on_token = [answer](const TokenEvent& event) {
      std::lock_guard lock(answer->mutex_);
      EXPECT_EQ(answer->endings_, 0) << "a token after the ending";
      EXPECT_EQ(event.index, std::ssize(answer->tokens));
      answer->tokens.push_back(event.token);
      answer->logprobs.push_back(event.logprob);
      answer->tops.emplace_back(event.top.begin(), event.top.end());
      answer->text += event.text;
      answer->changed_.notify_all();
    };
    sink.on_prefill = [answer](int64_t done, int64_t total) {
      std::lock_guard lock(answer->mutex_);
      EXPECT_LE(done, total);
      answer->prefill.push_back(done);
    };
    sink.on_end = [answer](const Ending& ending) {
      std::lock_guard lock(answer->mutex_);
      ++answer->endings_;
      answer->reason = ending.reason;
      answer->error = ending.error;
      answer->text += ending.text;
      answer->stop = ending.stop ? *ending.stop : "";
      answer->seed = ending.seed;
      answer->stats = ending.stats;
      answer->changed_.notify_all();
    };
    return sink;
  }

  // Tokens that the caller gave.
  void Give(std::span<const TokenId> given) {
    std::lock_guard lock(mutex_);
    tokens.insert(tokens.end(), given.begin(), given.end());
    logprobs.resize(tokens.size());
    tops.resize(tokens.size());
  }
  void WaitForEnd() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return endings_ > 0; });
  }
  void WaitForTokens(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return endings_ > 0 || tokens.size() >= count; });
  }
  int endings() {
    std::lock_guard lock(mutex_);
    return endings_;
  }

  // Read after WaitForEnd.
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;
  std::vector<std::vector<TokenLogprob>> tops;
  std::vector<int64_t> prefill;
  std::string text, stop;
  FinishReason reason = FinishReason::kFailed;
  Error error;
  uint64_t seed = 0;
  RequestStats stats;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int endings_ = 0;
};

inline const SamplingParams kGreedy{.temperature = 0, .max_tokens = 400};

// Shows token t as "<t>".
inline std::string_view BracketBytes(TokenId token) {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> names;
    for (int id = 0; id < 512; ++id) names.push_back(fmt::format("<{}>", id));
    return names;
  }();
  return all[token];
}

struct Submitted {
  RequestId id = 0;
  std::shared_ptr<Answer> answer = std::make_shared<Answer>();
};

inline Submitted Submit(Engine& engine, const std::vector<TokenId>& prompt, const SamplingParams& params) {
  Submitted submitted;
  const auto id = engine.Submit(prompt, params, Answer::SinkOf(submitted.answer));
  EXPECT_TRUE(id.has_value()) << (id ? "" : id.error().message);
  submitted.id = id.value_or(0);
  return submitted;
}

inline std::shared_ptr<Answer> Ask(Engine& engine, const std::vector<TokenId>& prompt, const SamplingParams& params) {
  const Submitted submitted = Submit(engine, prompt, params);
  submitted.answer->WaitForEnd();
  return submitted.answer;
}

// A mixed bag of requests: prompts, lengths and every kind of sampling.
inline std::vector<SamplingParams> MixedParams(size_t count) {
  std::vector<SamplingParams> all(count);
  for (size_t i = 0; i < count; ++i) {
    SamplingParams& params = all[i];
    params.seed = 100 + i;
    params.max_tokens = 20 + static_cast<int64_t>(i * 37 % 90);
    params.ignore_eos = i % 3 == 0;
    params.logprobs = true;
    params.temperature = i % 4 == 0 ? 0.f : 0.8f;
    if (i % 5 == 1) params.top_p = 0.9f;
    if (i % 5 == 2) params.top_k = 8, params.repetition_penalty = 1.1f;
    if (i % 5 == 3) params.min_p = 0.05f, params.presence_penalty = 0.3f, params.frequency_penalty = 0.2f;
    if (i % 5 == 4) params.logit_bias = {{31, -2}, {330, 1.5f}};
  }
  return all;
}

struct Outcome {
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;  // of the model's logits: equal bits, not near ones
  bool operator==(const Outcome&) const = default;
};

inline std::vector<Outcome> EachAlone(const EngineOptions& options, const std::vector<SamplingParams>& params) {
  auto engine = OpenEngine(options);
  std::vector<Outcome> outcomes;
  for (size_t i = 0; i < params.size(); ++i) {
    const auto answer = Ask(*engine, Examples()[i].prompt, params[i]);
    EXPECT_NE(answer->reason, FinishReason::kFailed) << answer->error.message;
    outcomes.push_back({answer->tokens, answer->logprobs});
  }
  return outcomes;
}

// More than the cache holds, submitted at once: some are put back, and all end with the bytes of `alone`.
inline void ExpectSameWhenPutBack(Engine& engine, const std::vector<SamplingParams>& params,
                                  const std::vector<Outcome>& alone) {
  std::vector<Submitted> submitted;
  for (size_t i = 0; i < params.size(); ++i) submitted.push_back(Submit(engine, Examples()[i].prompt, params[i]));
  for (size_t i = 0; i < params.size(); ++i) {
    submitted[i].answer->WaitForEnd();
    EXPECT_EQ((Outcome{submitted[i].answer->tokens, submitted[i].answer->logprobs}), alone[i]) << i;
  }
  EXPECT_GT(engine.stats().preemptions, 0);
  EXPECT_EQ(engine.stats().pages_used, 0);
}

// Submits at random moments of others' lives; some strangers come and are cancelled in between.
inline std::vector<Outcome> AllTogether(Engine& engine, const std::vector<SamplingParams>& params, unsigned seed) {
  std::mt19937 rng(seed);
  const size_t count = params.size();
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::shuffle(order, rng);
  std::vector<Submitted> submitted(count);
  std::vector<Submitted> strangers;
  for (size_t n = 0; n < count; ++n) {
    submitted[order[n]] = Submit(engine, Examples()[order[n]].prompt, params[order[n]]);
    if (rng() % 3 == 0) {
      strangers.push_back(
          Submit(engine, Examples()[100 + n].prompt, {.seed = rng(), .max_tokens = 200, .ignore_eos = true}));
    }
    if (rng() % 3 == 0 && !strangers.empty()) engine.Cancel(strangers[rng() % strangers.size()].id);
    if (rng() % 2 == 0) submitted[order[rng() % (n + 1)]].answer->WaitForTokens(rng() % 20);
  }
  for (const Submitted& stranger : strangers) engine.Cancel(stranger.id);
  std::vector<Outcome> outcomes;
  for (const Submitted& one : submitted) {
    one.answer->WaitForEnd();
    EXPECT_EQ(one.answer->endings(), 1);
    outcomes.push_back({one.answer->tokens, one.answer->logprobs});
  }
  for (const Submitted& stranger : strangers) stranger.answer->WaitForEnd();
  return outcomes;
}

}  // namespace minke
