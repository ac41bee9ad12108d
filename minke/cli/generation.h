// One request to the engine, seen from the thread that shows it: events come through a queue, so the engine's worker
// never waits for a terminal.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "minke/base/result.h"
#include "minke/engine/engine.h"

namespace minke {

struct GenerationEvent {
  enum class Kind { kPrefill, kToken, kEnd };
  Kind kind = Kind::kToken;
  int64_t done = 0, total = 0;  // kPrefill
  TokenId token = 0;            // kToken
  std::string text;             // kToken: bytes that may be shown; kEnd: what was held back
  // kEnd:
  FinishReason reason = FinishReason::kFailed;
  Error error;
  uint64_t seed = 0;
  RequestStats stats;
};

const char* FinishReasonName(FinishReason reason);  // as in the API: stop, length, cancelled, failed

class Generation {
 public:
  // Errors: those of Engine::Submit. The engine must outlive this object.
  static Result<std::unique_ptr<Generation>> Start(Engine& engine, std::vector<TokenId> prompt, SamplingParams params);
  ~Generation();  // cancels what still runs
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // The next event; false when none came within `timeout_ms`. Nothing follows kEnd.
  bool Next(GenerationEvent& event, int timeout_ms);
  void Cancel();  // the ending still comes

 private:
  struct Queue {  // also held by the engine's callbacks
    std::mutex mutex;
    std::condition_variable arrived;
    std::deque<GenerationEvent> events;
    void Push(GenerationEvent event);
  };
  explicit Generation(Engine& engine) : engine_(engine), queue_(std::make_shared<Queue>()) {}

  Engine& engine_;
  std::shared_ptr<Queue> queue_;
  RequestId id_ = 0;
};

}  // namespace minke
