#include "minke/train/rollout.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>

namespace minke {
namespace {

// One rollout on its way. While a request runs, the engine's worker alone touches it; between requests, the caller.
struct Flight {
  const RolloutRequest* request = nullptr;
  Rollout rollout;
  uint64_t segment = 0;
  size_t turn = 0;        // where the last one begins in the text
  bool thinking = false;  // the thinking is open
  int64_t answer = 0;     // tokens since it was closed
  bool cut = false;       // what still comes from this request does not count
  bool dropped = false;   // something did come
  bool over = false;      // the answer's limit
  std::string append;     // between this request and the next
  FinishReason reason = FinishReason::kFailed;
  Error error;
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
    size_t running = 0, done = 0;
    Status status;
    for (size_t i = 0; i < flights_.size() && status; ++i)
      if ((status = Launch(i))) ++running;
    while (running > 0) {
      if (!status) CancelAll();
      const size_t i = WaitForEnd();
      --running;
      Flight& flight = flights_[i];
      if (flight.reason == FinishReason::kFailed && status) status = Fail(flight.error);
      if (!status) continue;
      if (GoesOn(flight)) {
        if ((status = Launch(i))) ++running;
      } else {
        ++done;
        if (progress) progress(done);
      }
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
  Status Launch(size_t i) {
    Flight& flight = flights_[i];
    SamplingParams params = flight.request->params;
    params.max_tokens -= std::ssize(flight.rollout.tokens);
    params.stream += flight.segment << 40;
    std::vector<TokenId> prompt = flight.request->prompt;
    prompt.insert(prompt.end(), flight.rollout.tokens.begin(), flight.rollout.tokens.end());
    flight.cut = flight.dropped = flight.over = false;
    TokenSink sink;
    sink.on_token = [this, i](const TokenEvent& event) { Take(flights_[i], event); };
    sink.on_end = [this, i](const Ending& ending) {
      flights_[i].reason = ending.reason, flights_[i].error = ending.error;
      const std::lock_guard lock(mutex_);
      ended_.push_back(i);
      arrived_.notify_one();
    };
    auto id = engine_.Submit(std::move(prompt), std::move(params), std::move(sink));
    if (!id) return Fail(id.error());
    ids_.push_back(*id);
    return {};
  }

  // On the engine's worker.
  void Take(Flight& flight, const TokenEvent& event) {
    if (flight.cut) {
      flight.dropped = true;
      return;
    }
    Rollout& rollout = flight.rollout;
    rollout.tokens.push_back(event.token);
    rollout.chosen.push_back(1);
    rollout.logprobs.push_back(event.logprob);
    rollout.text += event.text;
    Count(flight, event.token);
    if (Environment* environment = flight.request->environment.get()) flight.append = environment->OnText(rollout.text);
    flight.over = flight.request->answer_tokens > 0 && flight.answer >= flight.request->answer_tokens;
    flight.cut = flight.over || !flight.append.empty() || BudgetIsSpent(flight);
    if (flight.cut) engine_.Cancel(event.request);
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

  // Appends what has to be; true when another request follows.
  bool GoesOn(Flight& flight) {
    const bool by_model = flight.reason == FinishReason::kEos && !flight.dropped;
    if (by_model) {
      flight.append.clear();
      if (flight.request->environment) flight.append = flight.request->environment->OnEnd(flight.rollout.text);
      flight.rollout.ended = flight.append.empty();
      if (flight.rollout.ended) return false;
    } else if (flight.over || !flight.cut) {
      return false;  // the answer's limit, or max_tokens
    }
    Append(flight, flight.append, by_model);
    flight.append.clear();
    if (BudgetIsSpent(flight)) {
      Append(flight, kEndOfThinking, /*new_turn=*/false);
      flight.rollout.forced = true;
    }
    ++flight.segment;
    return std::ssize(flight.rollout.tokens) < flight.request->params.max_tokens;
  }

  void Append(Flight& flight, std::string_view text, bool new_turn) const {
    flight.rollout.text += text;
    if (new_turn) {
      flight.thinking = text.ends_with(markers::kThink), flight.answer = 0;
      flight.turn = flight.rollout.text.size();
    }
    for (const TokenId token : tokenizer_.Encode(text)) {
      flight.rollout.tokens.push_back(token);
      flight.rollout.chosen.push_back(0);
      flight.rollout.logprobs.push_back(0);
      if (!new_turn) Count(flight, token);
    }
  }

  size_t WaitForEnd() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return !ended_.empty(); });
    const size_t i = ended_.front();
    ended_.pop_front();
    return i;
  }
  void CancelAll() {
    for (const RequestId id : ids_) engine_.Cancel(id);
    ids_.clear();
  }

  Engine& engine_;
  const Tokenizer& tokenizer_;
  const std::optional<TokenId> think_end_;
  std::vector<Flight> flights_;
  std::vector<RequestId> ids_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<size_t> ended_;
};

}  // namespace

int64_t Rollout::num_chosen() const { return std::ranges::count(chosen, uint8_t{1}); }

Result<std::vector<Rollout>> RunRollouts(Engine& engine, const Tokenizer& tokenizer,
                                         std::span<const RolloutRequest> requests,
                                         const std::function<void(size_t done)>& progress) {
  return Driver(engine, tokenizer, requests).Run(progress);
}

}  // namespace minke
