// For the engine's tests: nano, its expected answers, and a caller that collects what a request was told.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
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
    auto opened = Model::Open(std::string(MINKE_MODELS) + "/nano");
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error().message);
    return opened ? std::shared_ptr<const Model>(std::move(*opened)) : nullptr;
  }();
  return model;
}

struct Example {
  std::vector<TokenId> prompt, output;
};

// models/nano/expected.jsonl: prompts with their greedy answers.
inline const std::vector<Example>& Examples() {
  static const std::vector<Example> examples = [] {
    std::vector<Example> all;
    const auto text = ReadFile(std::string(MINKE_MODELS) + "/nano/expected.jsonl", 16 << 20);
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

}  // namespace minke
