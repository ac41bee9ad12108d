#include "minke/engine/engine.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <random>
#include <thread>

#include "minke/engine/engine_test_support.h"

namespace minke {
namespace {

TEST(Engine, BadRequestsAreRefusedWithNumbers) {
  EngineOptions options = NanoOptions();
  options.context = 300;
  options.max_sequences = 2;
  options.cache_bytes = 3 * options.model->cache_layout().page_floats() * 4;
  auto engine = OpenEngine(options);
  ASSERT_NE(engine, nullptr);
  const auto refusal = [&](std::vector<TokenId> prompt, SamplingParams params, Code code) -> std::string {
    TokenSink sink;
    sink.on_end = [](const Ending&) { ADD_FAILURE() << "an ending for a request that was not accepted"; };
    const auto id = engine->Submit(std::move(prompt), std::move(params), std::move(sink));
    if (id) return "accepted";
    EXPECT_EQ(id.error().code, code);
    return id.error().message;
  };
  EXPECT_EQ(refusal({}, kGreedy, Code::kInvalidArgument), "the prompt is empty, it needs at least one token");
  EXPECT_EQ(refusal({1, 2, 512}, kGreedy, Code::kInvalidArgument), "prompt token 2 is 512, the vocabulary has 512");
  EXPECT_EQ(refusal({-1}, kGreedy, Code::kInvalidArgument), "prompt token 0 is -1, the vocabulary has 512");
  EXPECT_EQ(refusal({1, 2}, {.max_tokens = 299}, Code::kInvalidArgument),
            "prompt (2 tokens) + max_tokens (299) exceeds the context of 300");
  EXPECT_EQ(refusal({1}, {.max_tokens = std::numeric_limits<int64_t>::max()}, Code::kInvalidArgument),
            "prompt (1 tokens) + max_tokens (9223372036854775807) exceeds the context of 300");
  EXPECT_EQ(refusal(std::vector<TokenId>(301, 5), {.max_tokens = 1}, Code::kInvalidArgument),
            "prompt (301 tokens) + max_tokens (1) exceeds the context of 300");
  EXPECT_EQ(refusal(std::vector<TokenId>(190, 5), {.max_tokens = 4}, Code::kNoMemory),
            "prompt (190 tokens) + max_tokens (4) needs 4 cache pages of 64 tokens, the whole cache has 3");
  EXPECT_EQ(refusal({1}, {.temperature = -1}, Code::kInvalidArgument), "temperature is -1, allowed is 0 to 2");
  EXPECT_EQ(refusal({1}, {.stop = {"x"}}, Code::kInvalidArgument),
            "stop strings need the bytes of tokens, and this engine was opened without");
  EXPECT_EQ(engine->stats().accepted, 0);
}

TEST(Engine, MostTokensIsTheBorderOfWhatSubmitTakes) {
  for (const int64_t pages : {1, 3, 5}) {  // the context of 300 is more than three pages and less than five
    EngineOptions options = NanoOptions();
    options.context = 300;
    options.max_sequences = 1;
    options.cache_bytes = pages * options.model->cache_layout().page_floats() * 4;
    const auto engine = OpenEngine(options);
    ASSERT_NE(engine, nullptr);
    const std::vector<TokenId> prompt(60, 5);
    const int64_t most = engine->MostTokens(60);
    EXPECT_EQ(most, std::min<int64_t>(300, pages * kPageTokens + 1) - 60);
    EXPECT_FALSE(engine->Submit(prompt, {.max_tokens = most + 1}, {}));
    const auto answer = Ask(*engine, prompt, {.temperature = 0, .max_tokens = most, .ignore_eos = true});
    EXPECT_EQ(answer->reason, FinishReason::kLength);
    EXPECT_EQ(std::ssize(answer->tokens), most);
    EXPECT_LT(engine->MostTokens(400), 1);
  }
}

TEST(Engine, BadOptionsAreRefused) {
  const auto refusal = [](auto change, Code code) -> std::string {
    EngineOptions options = NanoOptions();
    change(options);
    const auto engine = Engine::Open(options);
    if (engine) return "opened";
    EXPECT_EQ(engine.error().code, code);
    return engine.error().message;
  };
  EXPECT_EQ(refusal([](EngineOptions& o) { o.model = nullptr; }, Code::kInvalidArgument), "the engine needs a model");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.num_threads = 0; }, Code::kInvalidArgument),
            "num_threads is 0, allowed is 1 to 1024");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.context = 2049; }, Code::kInvalidArgument),
            "context is 2049, the model allows 2 to 2048");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.max_batch_tokens = int64_t{1} << 62; }, Code::kInvalidArgument),
            "max_batch_tokens is 4611686018427387904, allowed is 1 to 262144");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.max_batch_tokens = kMostBatchTokens + 1; }, Code::kInvalidArgument),
            "max_batch_tokens is 262145, allowed is 1 to 262144");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.prefill_chunk = -1; }, Code::kInvalidArgument),
            "prefill_chunk (-1) and cache_bytes (0) cannot be negative");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.max_sequences = 129; }, Code::kInvalidArgument),
            "max_sequences is 129, allowed is 1 to max_batch_tokens (128)");
  EXPECT_EQ(refusal([](EngineOptions& o) { o.draft_tokens = 0; }, Code::kInvalidArgument),
            "draft_tokens is 0, allowed is 1 to 8");
  EXPECT_NE(refusal([](EngineOptions& o) { o.cache_bytes = int64_t{1} << 50; }, Code::kNoMemory), "opened");
  EXPECT_NE(refusal([](EngineOptions& o) { o.cache_bytes = 1; }, Code::kNoMemory), "opened");
}

TEST(Engine, EndsForEachOfItsReasons) {
  EngineOptions options = NanoOptions();
  options.token_bytes = BracketBytes;
  auto engine = OpenEngine(options);
  ASSERT_NE(engine, nullptr);
  const Example& example = Examples()[0];  // 261 12 24 31 321 14 ... 330 1

  const auto eos = Ask(*engine, example.prompt, kGreedy);
  EXPECT_EQ(eos->reason, FinishReason::kEos);
  EXPECT_EQ(eos->tokens, example.output);
  EXPECT_TRUE(eos->text.starts_with("<261><12><24>"));
  EXPECT_TRUE(eos->text.ends_with("<330>"));  // the end token has no text

  SamplingParams params = kGreedy;
  params.max_tokens = 3;
  const auto length = Ask(*engine, example.prompt, params);
  EXPECT_EQ(length->reason, FinishReason::kLength);
  EXPECT_EQ(length->text, "<261><12><24>");

  params = kGreedy;
  params.ignore_eos = true;
  params.max_tokens = std::ssize(example.output) + 5;
  const auto beyond = Ask(*engine, example.prompt, params);
  EXPECT_EQ(beyond->reason, FinishReason::kLength);
  EXPECT_EQ(std::ssize(beyond->tokens), params.max_tokens);

  params = kGreedy;
  params.stop_token_ids = {31};
  const auto stop_token = Ask(*engine, example.prompt, params);
  EXPECT_EQ(stop_token->reason, FinishReason::kStop);
  EXPECT_EQ(stop_token->text, "<261><12><24>");
  EXPECT_EQ(stop_token->tokens.back(), 31);

  params = kGreedy;
  params.stop = {"4><31><3", "nothing"};  // begins inside one token and ends inside another
  const auto stop = Ask(*engine, example.prompt, params);
  EXPECT_EQ(stop->reason, FinishReason::kStop);
  EXPECT_EQ(stop->text, "<261><12><2");
  EXPECT_EQ(stop->stop, "4><31><3");
  EXPECT_EQ(stop->tokens.size(), 5u);

  params.stop = {"<330><1"};  // held back until the end, and then shown
  const auto held = Ask(*engine, example.prompt, params);
  EXPECT_EQ(held->reason, FinishReason::kEos);
  EXPECT_EQ(held->text, eos->text);
  EXPECT_EQ(engine->stats().pages_used, 0);
}

TEST(Engine, LogprobsBelongToTheChosenTokens) {
  auto engine = OpenEngine(NanoOptions());
  ASSERT_NE(engine, nullptr);
  SamplingParams params = kGreedy;
  params.logprobs = true;
  params.top_logprobs = 5;
  const auto answer = Ask(*engine, Examples()[0].prompt, params);
  ASSERT_EQ(answer->tops.size(), answer->tokens.size());
  for (size_t i = 0; i < answer->tokens.size(); ++i) {
    ASSERT_EQ(answer->tops[i].size(), 5u);
    EXPECT_EQ(answer->tops[i][0].token, answer->tokens[i]);
    EXPECT_EQ(answer->tops[i][0].logprob, answer->logprobs[i]);
    EXPECT_LE(answer->logprobs[i], 0);
  }
}

TEST(Engine, AnAnswerDoesNotDependOnCompanyChunksThreadsOrPages) {
  const std::vector<SamplingParams> params = MixedParams(kSanitized ? 6 : 16);
  for (const Attention attention : {Attention::kDsa, Attention::kDense}) {
    if (kSanitized && attention == Attention::kDense) continue;
    SCOPED_TRACE(attention == Attention::kDsa ? "dsa" : "dense");
    EngineOptions options = NanoOptions();
    options.context = 512;
    options.attention = attention;
    const std::vector<Outcome> alone = EachAlone(options, params);
    unsigned seed = 0;
    for (const int threads : {1, 2}) {
      for (const int64_t chunk : {1, 7, 64}) {
        if (kSanitized && (threads == 1 || chunk != 7)) continue;
        SCOPED_TRACE(testing::Message() << threads << " threads, chunks of " << chunk);
        options.num_threads = threads;
        options.prefill_chunk = chunk;
        auto engine = OpenEngine(options);
        ASSERT_NE(engine, nullptr);
        // Twice on one engine: the second time the free pages are in the disorder that the first has left.
        EXPECT_EQ(AllTogether(*engine, params, ++seed), alone);
        EXPECT_EQ(AllTogether(*engine, params, ++seed), alone);
        EXPECT_EQ(engine->stats().pages_used, 0);
      }
    }
  }
}

TEST(Engine, ASequenceThatIsPutBackGoesOnWithTheSameBytes) {
  std::vector<SamplingParams> params = MixedParams(kSanitized ? 4 : 16);
  for (SamplingParams& p : params) p.ignore_eos = true, p.max_tokens += 180;  // four pages and more
  EngineOptions options = NanoOptions();
  options.context = 512;
  const std::vector<Outcome> alone = EachAlone(options, params);
  options.cache_bytes = (kSanitized ? 6 : 7) * options.model->cache_layout().page_floats() * 4;
  auto engine = OpenEngine(options);
  ASSERT_NE(engine, nullptr);
  ExpectSameWhenPutBack(*engine, params, alone);
}

TEST(Engine, CancelEndsOneRequestAndNoOther) {
  auto engine = OpenEngine(NanoOptions());
  ASSERT_NE(engine, nullptr);
  const SamplingParams endless{.seed = 3, .max_tokens = 1500, .ignore_eos = true};
  const auto alone = Ask(*engine, Examples()[1].prompt, kGreedy);
  const Submitted victim = Submit(*engine, Examples()[0].prompt, endless);
  victim.answer->WaitForTokens(10);
  const Submitted other = Submit(*engine, Examples()[1].prompt, kGreedy);
  other.answer->WaitForTokens(3);
  engine->Cancel(victim.id);
  engine->Cancel(victim.id);
  engine->Cancel(12345);
  victim.answer->WaitForEnd();
  EXPECT_EQ(victim.answer->reason, FinishReason::kCancelled);
  EXPECT_GE(victim.answer->tokens.size(), 10u);
  other.answer->WaitForEnd();
  EXPECT_EQ(other.answer->tokens, alone->tokens);
  engine->Cancel(other.id);  // has ended
  EXPECT_EQ(Ask(*engine, Examples()[1].prompt, kGreedy)->tokens, alone->tokens);
  EXPECT_EQ(victim.answer->endings(), 1);
  EXPECT_EQ(other.answer->endings(), 1);
  const EngineStats stats = engine->stats();
  EXPECT_EQ(stats.accepted, 4);
  EXPECT_EQ(stats.cancelled, 1);
  EXPECT_EQ(stats.finished, 3);
}

TEST(Engine, ASinkMayCancelAndSubmit) {
  auto engine = OpenEngine(NanoOptions());
  ASSERT_NE(engine, nullptr);
  auto first = std::make_shared<Answer>(), second = std::make_shared<Answer>();
  TokenSink sink = Answer::SinkOf(first);
  sink.on_token = [&, inner = sink.on_token](const TokenEvent& event) {
    inner(event);
    if (event.index == 4) {
      EXPECT_TRUE(engine->Submit(Examples()[0].prompt, kGreedy, Answer::SinkOf(second)).has_value());
      engine->Cancel(event.request);
      EXPECT_EQ(engine->stats().accepted, 2);
    }
  };
  ASSERT_TRUE(engine->Submit(Examples()[0].prompt, kGreedy, sink).has_value());
  first->WaitForEnd();
  second->WaitForEnd();
  EXPECT_EQ(first->reason, FinishReason::kCancelled);
  EXPECT_EQ(first->tokens.size(), 5u);  // the step's border came before the next token
  EXPECT_EQ(second->tokens, Examples()[0].output);
}

TEST(Engine, DestructionEndsEveryRequest) {
  EngineOptions options = NanoOptions();
  options.max_sequences = 2;
  auto engine = OpenEngine(options);
  ASSERT_NE(engine, nullptr);
  std::vector<Submitted> all;
  for (int i = 0; i < 9; ++i) {
    all.push_back(Submit(*engine, Examples()[0].prompt, {.max_tokens = 1500, .ignore_eos = true}));
  }
  all[0].answer->WaitForTokens(3);
  engine.reset();
  for (const Submitted& one : all) {
    EXPECT_EQ(one.answer->endings(), 1);
    EXPECT_EQ(one.answer->reason, FinishReason::kCancelled);
  }
}

TEST(Engine, SeedsAreHonouredAndFreshOnesAreTold) {
  auto engine = OpenEngine(NanoOptions());
  ASSERT_NE(engine, nullptr);
  const std::vector<TokenId>& prompt = Examples()[0].prompt;
  SamplingParams params{.temperature = 2, .max_tokens = 40, .ignore_eos = true};
  const auto first = Ask(*engine, prompt, params), second = Ask(*engine, prompt, params);
  EXPECT_NE(first->seed, second->seed);
  EXPECT_NE(first->tokens, second->tokens);
  params.seed = first->seed;
  EXPECT_EQ(Ask(*engine, prompt, params)->tokens, first->tokens);
  params.stream = 1;
  EXPECT_NE(Ask(*engine, prompt, params)->tokens, first->tokens);
}

TEST(Engine, StatsOfRequestsAddUpToTheModels) {
  for (const Attention attention : {Attention::kDsa, Attention::kDense}) {
    EngineOptions options = NanoOptions();
    options.speculation = Speculation::kOff;  // the engine's sums have the rows of wrong drafts too
    options.attention = attention;
    auto engine = OpenEngine(options);
    ASSERT_NE(engine, nullptr);
    std::vector<Submitted> all;
    for (int i = 0; i < 5; ++i) all.push_back(Submit(*engine, Examples()[i].prompt, kGreedy));
    RequestStats sum;
    for (int i = 0; i < 5; ++i) {
      all[i].answer->WaitForEnd();
      const RequestStats& stats = all[i].answer->stats;
      EXPECT_EQ(stats.prompt_tokens, std::ssize(Examples()[i].prompt));
      EXPECT_EQ(stats.generated_tokens, std::ssize(all[i].answer->tokens));
      EXPECT_GE(stats.queue_s, 0);
      EXPECT_GT(stats.prefill_s, 0);
      EXPECT_GT(stats.decode_s, 0);
      const int64_t n = stats.prompt_tokens + stats.generated_tokens - 1;  // the last token never runs
      const int64_t layers = Nano()->config().num_hidden_layers;
      EXPECT_EQ(stats.queries, layers * n);
      EXPECT_EQ(stats.visible_keys, layers * n * (n + 1) / 2);
      EXPECT_EQ(stats.selected_keys < stats.visible_keys, attention == Attention::kDsa);
      ASSERT_FALSE(all[i].answer->prefill.empty());
      EXPECT_EQ(all[i].answer->prefill.back(), stats.prompt_tokens);
      sum.prompt_tokens += stats.prompt_tokens;
      sum.generated_tokens += stats.generated_tokens;
      sum.queries += stats.queries;
      sum.selected_keys += stats.selected_keys;
      sum.visible_keys += stats.visible_keys;
    }
    const EngineStats total = engine->stats();
    EXPECT_EQ(total.prompt_tokens, sum.prompt_tokens);
    EXPECT_EQ(total.generated_tokens, sum.generated_tokens);
    EXPECT_EQ(total.queries, sum.queries);
    EXPECT_EQ(total.selected_keys, sum.selected_keys);
    EXPECT_EQ(total.visible_keys, sum.visible_keys);
    EXPECT_EQ(total.prefill_rows, sum.prompt_tokens);
    EXPECT_EQ(total.decode_rows, sum.generated_tokens - 5);
    EXPECT_EQ(total.running + total.waiting + total.pages_used, 0);
    EXPECT_GT(total.prefill_s + total.decode_s, 0);
  }
}

TEST(Engine, ManyThreadsMaySubmitAndCancel) {
  auto engine = OpenEngine(NanoOptions());
  ASSERT_NE(engine, nullptr);
  std::vector<std::thread> callers;
  for (unsigned c = 0; c < 4; ++c) {
    callers.emplace_back([&engine, c] {
      std::mt19937 rng(c);
      for (int i = 0; i < 6; ++i) {
        const Example& example = Examples()[rng() % 50];
        const Submitted one = Submit(*engine, example.prompt, kGreedy);
        const bool cancel = rng() % 2 == 0;
        if (cancel) engine->Cancel(one.id);
        engine->stats();
        one.answer->WaitForEnd();
        if (cancel) continue;
        EXPECT_EQ(one.answer->tokens, example.output);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  const EngineStats stats = engine->stats();
  EXPECT_EQ(stats.accepted, 24);
  EXPECT_EQ(stats.finished + stats.cancelled, 24);
}

// A private copy of nano that a test may break.
class BrokenNano : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              fmt::format("minke_engine_{}_{}", getpid(), testing::UnitTest::GetInstance()->random_seed());
    std::filesystem::copy(std::string(MINKE_TEST_DATA) + "/nano-hf", folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::shared_ptr<const Model> Open() {
    auto model = Model::Open(folder_.string());
    EXPECT_TRUE(model.has_value()) << (model ? "" : model.error().message);
    return model ? std::shared_ptr<const Model>(std::move(*model)) : nullptr;
  }
  // Every byte of one BF16 or F32 tensor becomes 0xff.
  void FillWithNan(const std::string& tensor) {
    for (const auto& shard : Shards()) {
      std::fstream file(shard, std::ios::in | std::ios::out | std::ios::binary);
      uint64_t header_size = 0;
      file.read(reinterpret_cast<char*>(&header_size), 8);
      std::string header(header_size, ' ');
      file.read(header.data(), static_cast<std::streamsize>(header_size));
      const auto json = ParseJson(header, "header");
      ASSERT_TRUE(json.has_value());
      if (!json->contains(tensor)) continue;
      const std::vector<int64_t> offsets = (*json)[tensor]["data_offsets"];
      file.seekp(static_cast<std::streamoff>(8 + header_size) + offsets[0]);
      for (int64_t i = offsets[0]; i < offsets[1]; ++i) file.put('\xff');
    }
  }
  std::vector<std::filesystem::path> Shards() const {
    std::vector<std::filesystem::path> shards;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      if (entry.path().extension() == ".safetensors") shards.push_back(entry.path());
    }
    return shards;
  }

  std::filesystem::path folder_;
};

TEST_F(BrokenNano, AFileThatShrinksFailsRequestsAndNotTheProcess) {
  EngineOptions options = NanoOptions();
  options.model = Open();
  ASSERT_NE(options.model, nullptr);
  options.max_sequences = 1;
  auto engine = OpenEngine(options);
  ASSERT_NE(engine, nullptr);
  const SamplingParams endless{.max_tokens = 1500, .ignore_eos = true};
  const Submitted running = Submit(*engine, Examples()[0].prompt, endless);
  const Submitted waiting = Submit(*engine, Examples()[1].prompt, endless);
  running.answer->WaitForTokens(2);
  for (const auto& shard : Shards()) std::filesystem::resize_file(shard, 4096);
  for (const Submitted& one : {running, waiting}) {
    one.answer->WaitForEnd();
    EXPECT_EQ(one.answer->reason, FinishReason::kFailed);
    EXPECT_EQ(one.answer->error.code, Code::kDamaged);
  }
  const auto later = engine->Submit(Examples()[0].prompt, kGreedy, {});
  ASSERT_FALSE(later.has_value());
  EXPECT_EQ(later.error().code, Code::kDamaged);
}

TEST_F(BrokenNano, AFileThatIsCutWhileExpertsStreamFailsRequestsToo) {
  auto opened = Model::Open(folder_.string(), {.load = Load::kDirect, .memory_bytes = 4'000'000});
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  EngineOptions options = NanoOptions();
  options.model = std::move(*opened);
  options.context = 256, options.max_sequences = 1, options.max_batch_tokens = 16;  // few slots are left
  auto engine = OpenEngine(options);
  ASSERT_NE(engine, nullptr);
  const SamplingParams endless{.max_tokens = 200, .ignore_eos = true};
  EXPECT_NE(Ask(*engine, Examples()[0].prompt, endless)->reason, FinishReason::kFailed);
  for (const auto& shard : Shards()) std::filesystem::resize_file(shard, 4096);
  const auto answer = Ask(*engine, Examples()[1].prompt, endless);
  EXPECT_EQ(answer->reason, FinishReason::kFailed);
  EXPECT_EQ(answer->error.code, Code::kDamaged) << answer->error.message;
  const auto later = engine->Submit(Examples()[0].prompt, endless, {});
  ASSERT_FALSE(later.has_value());
  EXPECT_EQ(later.error().code, Code::kDamaged);
}

TEST_F(BrokenNano, LogitsWithoutNumbersFailTheRequestAndTheNextOneToo) {
  FillWithNan("model.norm.weight");
  EngineOptions options = NanoOptions();
  options.model = Open();
  ASSERT_NE(options.model, nullptr);
  auto engine = OpenEngine(options);
  ASSERT_NE(engine, nullptr);
  for (const SamplingParams& params : {kGreedy, SamplingParams{.top_p = 0.5f}}) {
    const auto answer = Ask(*engine, Examples()[0].prompt, params);
    EXPECT_EQ(answer->reason, FinishReason::kFailed);
    EXPECT_EQ(answer->error.code, Code::kFailed);
    EXPECT_EQ(answer->error.message,
              fmt::format("the model's logits hold NaN, after {} tokens", Examples()[0].prompt.size()));
    EXPECT_TRUE(answer->tokens.empty());
  }
  EXPECT_EQ(engine->stats().failed, 2);
  EXPECT_EQ(engine->stats().pages_used, 0);
}

TEST_F(BrokenNano, AnMtpLayerWithoutNumbersCostsDraftsAndNoAnswer) {
  FillWithNan("model.layers.4.shared_head.norm.weight");
  EngineOptions options = NanoOptions();
  options.model = Open();
  ASSERT_NE(options.model, nullptr);
  options.speculation = Speculation::kAlways;
  auto engine = OpenEngine(options);
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(Ask(*engine, Examples()[0].prompt, kGreedy)->tokens, Examples()[0].output);
  EXPECT_EQ(engine->stats().drafts, 0);
}

}  // namespace
}  // namespace minke
