#include "minke/cli/generation.h"

#include <chrono>

namespace minke {

const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
    case FinishReason::kEos:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kFailed:
      break;
  }
  return "failed";
}

void Generation::Queue::Push(GenerationEvent event) {
  {
    const std::lock_guard lock(mutex);
    events.push_back(std::move(event));
  }
  arrived.notify_one();
}

Result<std::unique_ptr<Generation>> Generation::Start(Engine& engine, std::vector<TokenId> prompt,
                                                      SamplingParams params) {
  auto generation = std::unique_ptr<Generation>(new Generation(engine));
  const std::shared_ptr<Queue> queue = generation->queue_;
  TokenSink sink;
  sink.on_prefill = [queue](int64_t done, int64_t total) {
    GenerationEvent event;
    event.kind = GenerationEvent::Kind::kPrefill, event.done = done, event.total = total;
    queue->Push(std::move(event));
  };
  sink.on_token = [queue](const TokenEvent& token) {
    GenerationEvent event;
    event.kind = GenerationEvent::Kind::kToken, event.token = token.token, event.text = token.text;
    queue->Push(std::move(event));
  };
  sink.on_end = [queue](const Ending& ending) {
    GenerationEvent event;
    event.kind = GenerationEvent::Kind::kEnd, event.text = ending.text, event.reason = ending.reason;
    event.error = ending.error, event.seed = ending.seed, event.stats = ending.stats;
    queue->Push(std::move(event));
  };
  MINKE_ASSIGN(generation->id_, engine.Submit(std::move(prompt), std::move(params), std::move(sink)));
  return generation;
}

Generation::~Generation() { Cancel(); }

bool Generation::Next(GenerationEvent& event, int timeout_ms) {
  std::unique_lock lock(queue_->mutex);
  if (!queue_->arrived.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return !queue_->events.empty(); })) {
    return false;
  }
  event = std::move(queue_->events.front());
  queue_->events.pop_front();
  return true;
}

void Generation::Cancel() { engine_.Cancel(id_); }

}  // namespace minke
