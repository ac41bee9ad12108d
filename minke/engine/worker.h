// The engine's one thread: takes requests and cancellations from a mailbox, runs steps, samples, tells the sinks.
// Post, Cancel and stats come from any thread and touch only what the mutex guards; all else is the thread's.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "minke/base/thread_pool.h"
#include "minke/engine/draft_gate.h"
#include "minke/engine/drafter.h"
#include "minke/engine/engine.h"
#include "minke/engine/page_pool.h"
#include "minke/engine/request.h"
#include "minke/engine/sampler.h"
#include "minke/engine/scheduler.h"

namespace minke {

class Engine::Worker {
 public:
  // What Open has built. The model outlives forward, the pages outlive the scheduler.
  struct Parts {
    std::shared_ptr<const Model> model;
    std::unique_ptr<ThreadPool> threads;
    std::unique_ptr<Forward> forward;
    std::unique_ptr<PagePool> pages;
    SchedulerOptions scheduler;
    const KernelSet* kernels = nullptr;
    int64_t context = 0;
    Attention attention = Attention::kDsa;
    Speculation speculation = Speculation::kOff;  // the other two: the model has an MTP layer
    int64_t draft_tokens = 0;
    std::function<std::string_view(TokenId)> token_bytes;
  };
  explicit Worker(Parts parts);
  ~Worker();

  Result<RequestId> Post(std::unique_ptr<Request> request);
  void Cancel(RequestId id);
  EngineStats stats() const;

 private:
  struct Ended {
    std::unique_ptr<Request> request;
    FinishReason reason;
    Error error;
  };

  // What one step runs and brings.
  struct StepCounts {
    int64_t prefill_rows = 0, decode_rows = 0, drafts = 0;
    int64_t sequences = 0;  // that want a token
    int64_t sampled = 0;    // tokens
  };

  // What a step's logits were for one sequence.
  struct Taken {
    int64_t sampled = 0;  // tokens
    int64_t right = 0;    // drafts whose rows stay
  };

  void Loop();
  bool TakeMail();  // waits while there is nothing to do; false when the engine ends
  void Step();
  void RunPlan(std::span<const PlanItem> plan);
  TensorView<const float, 2> RunModel(std::span<const PlanItem> plan);
  StepCounts Count(std::span<const PlanItem> plan);
  void CountKeys(Request& request, int64_t begin, int64_t end);
  void Progress(std::span<const PlanItem> plan);
  Taken TakeTokens(const PlanItem& item, TensorView<const float, 2> logits);
  Result<std::optional<FinishReason>> Take(Request& request, const Sample& sample);
  TokenEvent Describe(Request& request, const Sample& sample) const;
  Result<std::optional<FinishReason>> Follow(Request& request, const Following& following,
                                             std::optional<FinishReason> reason);
  bool IsCancelled(RequestId id) const;
  void Draft(std::span<const PlanItem> plan, const StepCounts& counts);
  void CountTime(const StepCounts& counts, double seconds);
  bool IsEos(TokenId token) const;
  void End(RequestId id, FinishReason reason, Error error = {});
  void EndAll(FinishReason reason, const Error& error);
  void Publish();
  void TellEndings();

  const Parts parts_;
  Scheduler scheduler_;
  Sampler sampler_;
  std::unordered_map<RequestId, std::unique_ptr<Request>> requests_;
  std::unique_ptr<Drafter> drafter_;  // null without speculation
  DraftGate gate_;
  std::vector<BatchItem> batch_;                    // [plan]
  std::vector<TokenId> batch_tokens_;               // [max_batch_tokens]; known ones, then drafts, for each item
  std::vector<int64_t> kept_rows_;                  // [plan]: of an item's rows, those of known tokens
  std::vector<Ended> ended_;                        // of this step, told once the statistics are out
  std::vector<std::unique_ptr<Request>> new_mail_;  // swapped with inbox_, so that both keep their room
  std::vector<RequestId> new_cancels_;
  EngineStats totals_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::unique_ptr<Request>> inbox_;
  std::vector<RequestId> cancels_;
  EngineStats published_;        // totals_ at the last step's border; accepted and prompt_tokens are counted here
  std::optional<Error> broken_;  // the model cannot be used any more
  RequestId next_id_ = 1;
  bool stop_ = false;

  std::thread thread_;  // last: it starts when all else stands
};

}  // namespace minke
