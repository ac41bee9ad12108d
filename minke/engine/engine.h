// Many requests, one batch, one cache. Thread-safe; one worker thread owns cache, batch and scratch. Every request
// that Submit accepts gets exactly one ending.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/token_id.h"
#include "minke/engine/sampling.h"
#include "minke/engine/token_sink.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/forward.h"
#include "minke/model/model.h"

namespace minke {

// Speculative decoding by the model's MTP layer (drafter.h); it changes no byte of any answer.
enum class Speculation {
  kOff,     // the MTP layer does not run
  kAuto,    // where the model has the layer, and while drafts pay (draft_gate.h)
  kAlways,  // refused when the model has no MTP layer
};
inline constexpr int64_t kMaxDraftTokens = 8;

struct EngineOptions {
  std::shared_ptr<const Model> model;
  const KernelSet* kernels = nullptr;  // null: the best this CPU has
  int num_threads = 1;
  int64_t context = 0;  // longest prompt + answer; 0: what the model allows
  int64_t max_batch_tokens = 512;
  int64_t max_sequences = 16;  // running at once; more wait
  int64_t prefill_chunk = 0;   // prompt tokens in one step; 0: max_batch_tokens
  int64_t cache_bytes = 0;     // 0: max_sequences whole contexts, but at most half of the available memory
  Attention attention = Attention::kDsa;
  CacheFormats cache = {};
  MlaForm mla_form = MlaForm::kAbsorbed;
  Speculation speculation = Speculation::kAuto;
  int64_t draft_tokens = 1;  // guessed for one sequence at once; those after the first read the layer's own output
  // The bytes of a token, for text and stop strings; the result must stay valid as long as the engine. Empty: no
  // text, and stop strings are refused.
  std::function<std::string_view(TokenId)> token_bytes;
  bool poison_cache = false;  // tests: pages are filled with NaN before use
};

struct EngineStats {
  int64_t context = 0;
  int64_t pages_total = 0, pages_used = 0, page_bytes = 0;
  int64_t running = 0, waiting = 0;
  int64_t accepted = 0, finished = 0, cancelled = 0, failed = 0;  // requests
  int64_t prompt_tokens = 0;                                      // of accepted requests
  int64_t generated_tokens = 0, given_tokens = 0;                 // sampled; by TokenSink::follow
  int64_t preemptions = 0;
  int64_t steps = 0;
  // Tokens that ran. Recomputed ones and many given at once count as prefill; drafts and a few given ones as decode.
  int64_t prefill_rows = 0, decode_rows = 0;
  int64_t drafts = 0, accepted_drafts = 0;                   // that ran; of those, the ones that were right
  double prefill_s = 0, decode_s = 0;                        // step time; a mixed step is split by rows
  int64_t queries = 0, selected_keys = 0, visible_keys = 0;  // of the rows above, in the main model's layers
  ExpertStats experts;                                       // zeros when all weights are in memory
};

class Engine {
 public:
  // Errors: kInvalidArgument for options that contradict each other or the model, kNoMemory with the numbers,
  // kUnsupported when no kernel set fits.
  static Result<std::unique_ptr<Engine>> Open(const EngineOptions& options);
  // Ends what is left as kCancelled. Not from a callback.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // The largest max_tokens that Submit takes for a prompt of this length: what the context and the whole cache leave.
  // Less than 1 when the prompt itself does not fit.
  int64_t MostTokens(int64_t prompt_tokens) const;
  // Callers hand over the whole prompt. Errors (nothing is accepted, the sink is not called): kInvalidArgument for
  // an empty prompt, ids outside the vocabulary, params out of range, prompt + max_tokens above the context;
  // kNoMemory when the cache could not hold it even alone; kDamaged once the model's files have failed.
  Result<RequestId> Submit(std::vector<TokenId> prompt, SamplingParams params, TokenSink sink);
  // Takes effect at the next step's border. A request that is unknown or has ended is left alone.
  void Cancel(RequestId id);
  EngineStats stats() const;

 private:
  class Worker;
  struct Limits {
    int64_t vocab_size = 0, context = 0, num_pages = 0;
    bool has_text = false;
  };
  Engine(const Limits& limits, std::unique_ptr<Worker> worker);

  const Limits limits_;
  std::unique_ptr<Worker> worker_;
};

}  // namespace minke
