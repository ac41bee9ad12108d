// Tokens that the caller lets follow sampled ones: the answer is that of a request for each piece, whatever runs beside
// it. Nano's cache is poisoned, so a row that was never written shows.
#include "minke/engine/engine_test_support.h"

namespace minke {
namespace {

using Tokens = std::vector<TokenId>;
using Script = std::function<Tokens(const Tokens& output)>;  // what follows; pure

// Now and then a few tokens, seldom many; after the model's end another turn, until the answer is long.
Tokens Chatter(const Tokens& output) {
  const auto n = static_cast<TokenId>(output.size());
  const bool eos = std::ranges::count(Nano()->config().eos_token_ids, output.back()) > 0;
  if (eos && n > 60) return {};
  if (!eos && (output.back() * 7 + n * 3) % 6 != 0) return {};
  Tokens given(n % 5 == 0 ? 23 : 1 + n % 3);
  for (size_t i = 0; i < given.size(); ++i)
    given[i] = 10 + (output.back() * 31 + n + 17 * static_cast<TokenId>(i)) % 400;
  return given;
}

// The rest of a known answer by pieces: what the model would have written anyway.
Script Dictate(const Tokens& answer) {
  return [answer](const Tokens& output) -> Tokens {
    const size_t n = output.size();
    if (n % 4 != 1 || n + 6 > answer.size()) return {};
    return {answer.begin() + static_cast<ptrdiff_t>(n), answer.begin() + static_cast<ptrdiff_t>(n + 1 + n % 3)};
  };
}

Submitted Start(Engine& engine, const Tokens& prompt, const SamplingParams& params, const Script& script) {
  Submitted submitted;
  TokenSink sink = Answer::SinkOf(submitted.answer);
  sink.follow = [answer = submitted.answer, given = Tokens(), script,
                 most = params.max_tokens](const TokenEvent& event) mutable -> Following {
    if (event.ends && *event.ends != FinishReason::kEos) return {};
    given = script(answer->tokens);
    const auto room = static_cast<size_t>(most - std::ssize(answer->tokens));
    answer->Give(std::span(given).first(std::min(given.size(), room)));
    return {.tokens = given};
  };
  const auto id = engine.Submit(prompt, params, sink);
  EXPECT_TRUE(id.has_value()) << (id ? "" : id.error().message);
  submitted.id = id.value_or(0);
  return submitted;
}

// Waits, and looks at what every answer keeps.
Outcome Finish(const Submitted& one) {
  one.answer->WaitForEnd();
  EXPECT_NE(one.answer->reason, FinishReason::kFailed) << one.answer->error.message;
  const RequestStats& stats = one.answer->stats;
  const int64_t output = stats.generated_tokens + stats.given_tokens;
  EXPECT_EQ(output, std::ssize(one.answer->tokens));
  const int64_t layers = Nano()->config().num_hidden_layers;
  EXPECT_LE(stats.queries, layers * (stats.prompt_tokens + output - 1));  // the last token never runs
  if (one.answer->reason == FinishReason::kEos) {
    EXPECT_EQ(stats.queries, layers * (stats.prompt_tokens + output - 1));
  }
  return {one.answer->tokens, one.answer->logprobs};
}

// One request for each piece, with all before as its prompt.
Outcome ByPieces(Engine& engine, const Tokens& prompt, const SamplingParams& params, const Script& script) {
  Outcome all;
  for (;;) {
    const auto answer = std::make_shared<Answer>();
    Tokens given;
    TokenSink sink = Answer::SinkOf(answer);
    sink.on_token = [&, inner = sink.on_token](const TokenEvent& event) {
      inner(event);
      Tokens output = all.tokens;
      output.insert(output.end(), answer->tokens.begin(), answer->tokens.end());
      given = script(output);
      if (!given.empty()) engine.Cancel(event.request);
    };
    SamplingParams rest = params;
    rest.max_tokens -= std::ssize(all.tokens);
    Tokens known = prompt;
    known.insert(known.end(), all.tokens.begin(), all.tokens.end());
    EXPECT_TRUE(engine.Submit(known, rest, sink).has_value());
    answer->WaitForEnd();
    all.tokens.insert(all.tokens.end(), answer->tokens.begin(), answer->tokens.end());
    all.logprobs.insert(all.logprobs.end(), answer->logprobs.begin(), answer->logprobs.end());
    const auto room = static_cast<size_t>(params.max_tokens - std::ssize(all.tokens));
    given.resize(std::min(given.size(), room));
    all.tokens.insert(all.tokens.end(), given.begin(), given.end());
    all.logprobs.resize(all.tokens.size());
    if (given.empty() || std::ssize(all.tokens) == params.max_tokens) return all;
  }
}

EngineOptions Options(Speculation speculation, int64_t draft_tokens = 1) {
  EngineOptions options = NanoOptions();
  options.context = 512;
  options.speculation = speculation;
  options.draft_tokens = draft_tokens;
  options.token_bytes = BracketBytes;
  return options;
}

TEST(Following, GreedyAnswersAreThoseOfARequestForEachPieceInAnyCompany) {
  const size_t count = kSanitized ? 3 : 12;
  std::vector<SamplingParams> params(count, {.temperature = 0, .max_tokens = 150, .logprobs = true});
  for (size_t i = 0; i < count; i += 3) params[i].repetition_penalty = 1.2f;
  auto plain = OpenEngine(Options(Speculation::kOff));
  std::vector<Outcome> pieces;
  for (size_t i = 0; i < count; ++i) pieces.push_back(ByPieces(*plain, Examples()[i].prompt, params[i], Chatter));
  for (const int64_t drafts : {0, 1, 4}) {
    for (const int64_t chunk : {3, 128}) {
      if (kSanitized && (drafts != 4 || chunk != 128)) continue;
      SCOPED_TRACE(testing::Message() << drafts << " drafts, chunks of " << chunk);
      EngineOptions options =
          Options(drafts == 0 ? Speculation::kOff : Speculation::kAlways, std::max<int64_t>(drafts, 1));
      options.prefill_chunk = chunk;
      options.max_sequences = chunk == 3 ? 5 : 16;
      options.num_threads = chunk == 3 ? 1 : 2;
      auto engine = OpenEngine(options);
      std::vector<Submitted> all;
      for (size_t i = 0; i < count; ++i) all.push_back(Start(*engine, Examples()[i].prompt, params[i], Chatter));
      for (size_t i = 0; i < count; ++i) EXPECT_EQ(Finish(all[i]), pieces[i]) << i;
      const EngineStats stats = engine->stats();
      EXPECT_GT(stats.given_tokens, 100);
      EXPECT_EQ(stats.pages_used, 0);
      EXPECT_EQ(stats.accepted_drafts > 0, drafts > 0);
    }
  }
}

TEST(Following, WhatTheModelWouldHaveWrittenChangesNothingAndDraftsStayRight) {
  const size_t count = kSanitized ? 3 : 12;
  for (const int64_t drafts : {0, 1, 3}) {
    auto engine =
        OpenEngine(Options(drafts == 0 ? Speculation::kOff : Speculation::kAlways, std::max<int64_t>(drafts, 1)));
    for (size_t i = 0; i < count; ++i) {
      // A draw belongs to its place in the output.
      const SamplingParams params{.temperature = i % 2 ? 0.7f : 0.f, .seed = i, .max_tokens = 200, .logprobs = true};
      const auto whole = Ask(*engine, Examples()[i].prompt, params);
      const Submitted dictated = Start(*engine, Examples()[i].prompt, params, Dictate(whole->tokens));
      EXPECT_EQ(Finish(dictated).tokens, whole->tokens);
      EXPECT_GT(dictated.answer->stats.given_tokens, 5);
      for (size_t t = 0; t < whole->tokens.size(); ++t) {
        const float logprob = dictated.answer->logprobs[t];
        EXPECT_TRUE(logprob == 0 || logprob == whole->logprobs[t]) << t;
      }
      if (drafts == 0 || i % 2) continue;
      const RequestStats& stats = dictated.answer->stats;  // a missing row of the MTP layer would be NaN: no draft
      EXPECT_GT(stats.drafts, stats.generated_tokens / 4);
      EXPECT_GT(static_cast<double>(stats.accepted_drafts), 0.6 * static_cast<double>(stats.drafts));
    }
  }
}

TEST(Following, ASequenceThatIsPutBackGoesOnWithTheSameBytes) {
  std::vector<SamplingParams> params = MixedParams(kSanitized ? 4 : 12);
  for (SamplingParams& p : params) p.max_tokens = 280, p.ignore_eos = true;
  std::vector<Outcome> alone;
  {
    auto engine = OpenEngine(Options(Speculation::kOff));
    for (size_t i = 0; i < params.size(); ++i)
      alone.push_back(Finish(Start(*engine, Examples()[i].prompt, params[i], Chatter)));
  }
  for (const Speculation speculation : {Speculation::kOff, Speculation::kAlways}) {
    if (kSanitized && speculation == Speculation::kOff) continue;
    EngineOptions options = Options(speculation, 3);
    options.prefill_chunk = 40;
    options.cache_bytes = 6 * options.model->cache_layout().page_floats() * 4;
    auto engine = OpenEngine(options);
    std::vector<Submitted> all;
    for (size_t i = 0; i < params.size(); ++i) all.push_back(Start(*engine, Examples()[i].prompt, params[i], Chatter));
    for (size_t i = 0; i < params.size(); ++i) {
      all[i].answer->WaitForEnd();
      EXPECT_EQ((Outcome{all[i].answer->tokens, all[i].answer->logprobs}), alone[i]) << i;
    }
    EXPECT_GT(engine->stats().preemptions, 0);
    EXPECT_EQ(engine->stats().pages_used, 0);
  }
}

// Gives `given` behind output token `at`, and ends there if `end`.
std::shared_ptr<Answer> AskOnce(Engine& engine, const Tokens& prompt, const SamplingParams& params, int64_t at,
                                const Tokens& given, bool end, std::optional<FinishReason>* ends = nullptr) {
  const auto answer = std::make_shared<Answer>();
  TokenSink sink = Answer::SinkOf(answer);
  sink.follow = [&](const TokenEvent& event) -> Following {
    if (event.index != at) return {};
    if (ends) *ends = event.ends;
    if (!end) answer->Give(given);
    return {.tokens = given, .end = end};
  };
  EXPECT_TRUE(engine.Submit(prompt, params, sink).has_value());
  answer->WaitForEnd();
  return answer;
}

TEST(Following, EndsComeWhereTheyShould) {
  const Tokens& prompt = Examples()[0].prompt;
  const Tokens& output = Examples()[0].output;  // 261 12 24 31 321 14 ... 330 1
  const int64_t last = std::ssize(output) - 1;
  for (const Speculation speculation : {Speculation::kOff, Speculation::kAlways}) {
    auto engine = OpenEngine(Options(speculation, 4));
    std::optional<FinishReason> ends;
    for (const int64_t at : {0, 5}) {
      const auto ended = AskOnce(*engine, prompt, kGreedy, at, {9}, /*end=*/true, &ends);
      EXPECT_EQ(ended->reason, FinishReason::kStop);
      EXPECT_EQ(ended->tokens, Tokens(output.begin(), output.begin() + at + 1));
      EXPECT_EQ(ends, std::nullopt);
    }
    const auto eos = AskOnce(*engine, prompt, kGreedy, last, {9}, /*end=*/true, &ends);
    EXPECT_EQ(eos->reason, FinishReason::kEos);
    EXPECT_EQ(eos->tokens, output);
    EXPECT_EQ(ends, FinishReason::kEos);
    const auto turn = AskOnce(*engine, prompt, kGreedy, last, prompt, /*end=*/false);
    EXPECT_EQ(turn->reason, FinishReason::kEos);
    EXPECT_GT(std::ssize(turn->tokens), last + 1 + std::ssize(prompt) + 1);
    EXPECT_EQ(turn->stats.given_tokens, std::ssize(prompt));

    SamplingParams params = kGreedy;
    for (const int64_t given : {5, 6, 7}) {  // one token is left; none; less than none
      params.max_tokens = 10;
      const auto full = AskOnce(*engine, prompt, params, 3, Tokens(given, 9), /*end=*/false);
      EXPECT_EQ(full->reason, FinishReason::kLength);
      EXPECT_EQ(full->stats.generated_tokens, given == 5 ? 5 : 4);
      EXPECT_EQ(full->stats.given_tokens, std::min<int64_t>(given, 6));
    }
    params.max_tokens = last + 1;
    EXPECT_EQ(AskOnce(*engine, prompt, params, last, {9}, /*end=*/false)->reason, FinishReason::kLength);
    params.max_tokens = 4;  // what is given behind the last token means nothing
    EXPECT_EQ(AskOnce(*engine, prompt, params, 3, {512}, /*end=*/false, &ends)->reason, FinishReason::kLength);
    EXPECT_EQ(ends, FinishReason::kLength);
    params = kGreedy;
    params.stop_token_ids = {output[3]};
    EXPECT_EQ(AskOnce(*engine, prompt, params, 3, {9}, /*end=*/false, &ends)->reason, FinishReason::kStop);
    EXPECT_EQ(ends, FinishReason::kStop);

    const auto bad = AskOnce(*engine, prompt, kGreedy, 3, {9, 512}, /*end=*/false);
    EXPECT_EQ(bad->reason, FinishReason::kFailed);
    EXPECT_EQ(bad->error.message,
              fmt::format("a token to follow token {} is 512, the vocabulary has 512", prompt.size() + 4));
    EXPECT_EQ(Ask(*engine, prompt, kGreedy)->tokens, output);
    EXPECT_EQ(engine->stats().pages_used, 0);
  }
}

TEST(Following, TheLongestContextIsFilledToItsLastToken) {
  EngineOptions options = Options(Speculation::kAlways, 4);
  options.max_sequences = 1;
  options.cache_bytes = 2 * options.model->cache_layout().page_floats() * 4;
  auto engine = OpenEngine(options);
  const int64_t most = engine->MostTokens(60);
  for (const int64_t given : {most - 2, most - 1, most, 10 * most}) {
    const auto answer = AskOnce(*engine, Tokens(60, 5), {.temperature = 0, .max_tokens = most, .ignore_eos = true}, 0,
                                Tokens(given, 7), /*end=*/false);
    EXPECT_EQ(answer->reason, FinishReason::kLength);
    EXPECT_EQ(answer->stats.given_tokens, std::min(given, most - 1));
    EXPECT_EQ(answer->stats.generated_tokens, given == most - 2 ? 2 : 1);
  }
}

TEST(Following, StopStringsAreTheModelsOwn) {
  auto engine = OpenEngine(Options(Speculation::kOff));
  const Tokens& output = Examples()[0].output;  // 261 12 24 31
  SamplingParams params = kGreedy;
  params.stop = {"<12><9>"};
  const auto answer = AskOnce(*engine, Examples()[0].prompt, params, 1, {9, 12, 9}, /*end=*/false);
  EXPECT_TRUE(answer->text.starts_with("<261><12>")) << answer->text;  // given tokens have no text
  EXPECT_EQ(answer->text.find("<9>"), std::string::npos);
  EXPECT_NE(answer->reason, FinishReason::kStop);
  params.stop = {fmt::format("<{}>", output[3])};
  params.stop_after = "<9>";
  EXPECT_EQ(Ask(*engine, Examples()[0].prompt, params)->reason, FinishReason::kEos);
  const auto after = AskOnce(*engine, Examples()[0].prompt, params, 2, {9}, /*end=*/false);
  EXPECT_TRUE(after->stop == params.stop[0] || after->reason == FinishReason::kEos);
}

}  // namespace
}  // namespace minke
