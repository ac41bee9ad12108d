// DeepSeek V2 / V3 / V3.2 and GLM-MoE-DSA as equations: tokens + cache -> logits. Prefill and decode are
// different batches, not different functions. Every row of the result depends on that row's token, position
// and cache alone: never on batch, chunking, threads or pages (docs/model.md, "Same bytes").
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/thread_pool.h"
#include "minke/base/token_id.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/cache_view.h"
#include "minke/model/expert_stats.h"
#include "minke/model/model.h"
#include "minke/tensor/view.h"

namespace minke {

enum class Attention { kDsa, kDense };        // kDense ignores the indexer; for comparison
enum class MlaForm { kAbsorbed, kExpanded };  // kExpanded where a query sees everything; kAbsorbed elsewhere

inline constexpr int64_t kMostBatchTokens = 1 << 18;  // in one Run: tasks of one fork are counted in 20 bits

struct ForwardOptions {
  int64_t max_batch_tokens = 512;  // new tokens in one Run, all sequences together
  int64_t max_logit_rows = 512;
  int64_t max_context = 4096;  // longest sequence, in tokens
  Attention attention = Attention::kDsa;
  MlaForm mla_form = MlaForm::kAbsorbed;
  CacheFormats cache = {};   // of the pages that items bring
  int64_t expert_bytes = 0;  // for experts of a model that streams them: Model::ExpertBytes
};

// New tokens of one sequence.
struct BatchItem {
  enum class Logits { kNone, kLast, kAll };
  std::span<const TokenId> tokens;  // each in [0, vocab_size)
  int64_t first_pos = 0;            // of tokens[0]; the cache already holds [0, first_pos)
  std::span<float* const> pages;    // page table over [0, first_pos + tokens.size())
  Logits logits = Logits::kLast;
};

// Receives named intermediates ("hidden.embed", "hidden.3", "topk.3", "experts.3", ...), rows in batch order.
// Called between kernels, from the caller's thread. Null in normal runs.
class TapSink {
 public:
  virtual ~TapSink() = default;
  virtual void Floats(std::string_view name, int64_t layer, TensorView<const float, 2> rows) = 0;
  virtual void Ints(std::string_view name, int64_t layer, TensorView<const int32_t, 2> rows) = 0;  // -1 pads
};

// Work of the last Run, for the line of facts.
struct ForwardStats {
  int64_t queries = 0;        // rows times layers with attention
  int64_t selected_keys = 0;  // summed over those
  int64_t visible_keys = 0;
  int64_t experts = 0;  // routed experts that had rows, summed over layers
};

// Owns the scratch for one worker; not thread-safe. Run allocates nothing.
class Forward {
 public:
  // Errors: kNoMemory with the numbers, kInvalidArgument for options that contradict the model.
  static Result<std::unique_ptr<Forward>> Create(const Model& model, const KernelSet& kernels, ThreadPool& pool,
                                                 const ForwardOptions& options);
  ~Forward();
  // What Create will take for activations, for a pool of `num_threads`.
  static int64_t ScratchBytes(const Model& model, int num_threads, const ForwardOptions& options);

  // Appends the items' rows to their caches and returns F32 logits [wanted rows, vocab_size] in batch order,
  // valid until the next Run.
  TensorView<const float, 2> Run(std::span<const BatchItem> items, TapSink* taps = nullptr);

  // model.norm's output for every token of the last Run, [tokens, hidden_size]; what the MTP layer reads. After RunMtp
  // that layer's own output for its rows of logits, which stands for the next position's when it drafts further.
  TensorView<const float, 2> hidden() const;

  // The MTP layer (docs/model.md) on items whose tokens[i] is the *next* token x_{p+1} of position p = first_pos +
  // i. The j-th token of all items reads the main hidden state g_p = hidden[rows[j]], which may be a row of hidden().
  // Uses the cache's last layer. Logits as in Run; a token without them costs little more than its rows of the cache.
  TensorView<const float, 2> RunMtp(std::span<const BatchItem> items, TensorView<const float, 2> hidden,
                                    std::span<const int32_t> rows, TapSink* taps = nullptr);

  const ForwardStats& stats() const;
  ExpertStats expert_stats() const;  // since Create; zeros when all weights are in memory

 private:
  struct Impl;
  explicit Forward(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace minke
