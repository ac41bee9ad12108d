#include "minke/train/rollout.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

namespace minke {
namespace {

// One rollout on its way; the engine's worker alone touches it.
struct Flight {
  const RolloutRequest* request = nullptr;
  Rollout rollout;
  size_t turn = 0;             // where the last one begins in the text
  bool thinking = false;       // the thinking is open
  int64_t answer = 0;          // tokens since it was closed
  std::vector<TokenId> given;  // behind the last token
};

class Driver {
 public:
  Driver(Engine& engine, const Tokenizer& tokenizer, std::span<const RolloutRequest> requests)
      : engine_(engine), tokenizer_(tokenizer), think_end_(tokenizer.TokenToId(kEndOfThinking)) {
    flights_.resize(requests.size());
    for (size_t i = 0; i < requests.size(); ++i) {
      flights_[i].request = &requests[i];
      flights_[i].thinking = requests[i].thinking;
    }
  }

  Result<std::vector<Rollout>> Run(const std::function<void(size_t done)>& progress) {
    for (const Flight& flight : flights_)
      if (flight.request->think_budget > 0 && !think_end_)
        return Fail(Code::kUnsupported, "a thinking budget: the tokenizer has no {} to force", kEndOfThinking);
    std::vector<RequestId> ids;
    Status status;
    for (size_t i = 0; i < flights_.size() && status; ++i) {
      const auto id = Launch(flights_[i]);
      id ? ids.push_back(*id) : void(status = Fail(id.error()));
    }
    for (size_t done = 1; done <= ids.size(); ++done) {
      if (!status)
        for (const RequestId id : ids) engine_.Cancel(id);
      WaitFor(done);
      if (status) status = FirstFailure();
      if (status && progress) progress(done);
    }
    if (!status) return Fail(status.error());
    std::vector<Rollout> rollouts;
    for (Flight& flight : flights_) {
      const AnswerText answer = SplitAnswer(flight.rollout.text, flight.turn, flight.request->thinking);
      flight.rollout.reasoning = answer.reasoning, flight.rollout.content = answer.content;
      rollouts.push_back(std::move(flight.rollout));
    }
    return rollouts;
  }

 private:
  Result<RequestId> Launch(Flight& flight) {
    TokenSink sink;
    sink.follow = [this, &flight](const TokenEvent& event) { return Take(flight, event); };
    sink.on_end = [this](const Ending& ending) {
      const std::lock_guard lock(mutex_);
      ++ended_;
      if (ending.reason == FinishReason::kFailed && failure_) failure_ = Fail(ending.error);
      arrived_.notify_one();
    };
    return engine_.Submit(flight.request->prompt, flight.request->params, std::move(sink));
  }

  // What comes after a token. Where max_tokens ends the request, the rollout has it all the same.
  Following Take(Flight& flight, const TokenEvent& event) const {
    Rollout& rollout = flight.rollout;
    Environment* const environment = flight.request->environment.get();
    flight.given.clear();
    Push(flight, event.token, event.logprob, /*chosen=*/true);
    rollout.text += event.text;
    Count(flight, event.token);
    if (event.ends == FinishReason::kEos) {
      const std::string turn = environment ? environment->OnEnd(rollout.text) : std::string();
      rollout.ended = turn.empty();
      if (rollout.ended) return {.end = true};
      Append(flight, turn, /*new_turn=*/true);
    } else {
      const std::string text = environment ? environment->OnText(rollout.text) : std::string();
      const int64_t most = flight.request->answer_tokens;
      if (most > 0 && flight.answer >= most) return {.end = true};
      Append(flight, text, /*new_turn=*/false);
    }
    if (BudgetIsSpent(flight)) {
      Append(flight, kEndOfThinking, /*new_turn=*/false);
      rollout.forced = true;
    }
    return {.tokens = flight.given};
  }

  static void Push(Flight& flight, TokenId token, float logprob, bool chosen) {
    flight.rollout.tokens.push_back(token);
    flight.rollout.chosen.push_back(chosen);
    flight.rollout.logprobs.push_back(logprob);
  }

  void Count(Flight& flight, TokenId token) const {
    if (flight.thinking && think_end_ && token == *think_end_) {
      flight.thinking = false, flight.answer = 0;
    } else {
      ++(flight.thinking ? flight.rollout.think_tokens : flight.answer);
    }
  }
  static bool BudgetIsSpent(const Flight& flight) {
    const int64_t budget = flight.request->think_budget;
    return flight.thinking && budget > 0 && flight.rollout.think_tokens >= budget;
  }

  void Append(Flight& flight, std::string_view text, bool new_turn) const {
    flight.rollout.text += text;
    if (new_turn) {
      flight.thinking = text.ends_with(markers::kThink), flight.answer = 0;
      flight.turn = flight.rollout.text.size();
    }
    for (const TokenId token : tokenizer_.Encode(text)) {
      flight.given.push_back(token);
      Push(flight, token, 0, /*chosen=*/false);
      if (!new_turn) Count(flight, token);
    }
  }

  void WaitFor(size_t count) {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return ended_ >= count; });
  }
  Status FirstFailure() {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

  Engine& engine_;
  const Tokenizer& tokenizer_;
  const std::optional<TokenId> think_end_;
  std::vector<Flight> flights_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  size_t ended_ = 0;
  Status failure_;
};

}  // namespace

int64_t Rollout::num_chosen() const { return std::ranges::count(chosen, uint8_t{1}); }

Result<std::vector<Rollout>> RunRollouts(Engine& engine, const Tokenizer& tokenizer,
                                         std::span<const RolloutRequest> requests,
                                         const std::function<void(size_t done)>& progress) {
  MINKE_ASSIGN(std::vector<Rollout> rollouts, Driver(engine, tokenizer, requests).Run(progress));
  // What was appended past the limit has not run and carries no loss.
  for (size_t i = 0; i < rollouts.size(); ++i) {
    Rollout& rollout = rollouts[i];
    const auto most = static_cast<size_t>(requests[i].params.max_tokens);
    if (rollout.tokens.size() <= most) continue;
    rollout.tokens.resize(most), rollout.chosen.resize(most), rollout.logprobs.resize(most);
  }
  return rollouts;
}

}  // namespace minke
