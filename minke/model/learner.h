// The model with its gradient: a forward pass that keeps what it computes, and the way back (docs/training.md).
//
// The forward pass is made of inference's own steps (pass.h), called on the same kernels, so a row's logits have the
// bits that the engine sees: the difference of log-probabilities between rollout and training is zero, not small.
// The backward pass is deterministic too: sums over rows are cut into pieces that depend on the batch alone, never on
// the number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/thread_pool.h"
#include "minke/base/token_id.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/forward.h"
#include "minke/model/parameters.h"
#include "minke/tensor/view.h"

namespace minke {

struct LearnerOptions {
  int64_t max_tokens = 4096;   // in one Forward, all sequences together
  int64_t max_sequences = 64;  // in one Forward
  int64_t max_context = 0;     // longest sequence; 0: max_tokens
  Attention attention = Attention::kDsa;
  bool mtp = false;  // also run the MTP layer
};

// What a sampler did at each token of a sequence, to be done again (spec: keep routing, index replay). Layers count
// the main model's only.
struct Replay {
  std::vector<int32_t> experts;       // [layers, tokens, num_experts_per_tok]; empty: route anew
  std::vector<int32_t> topk;          // [layers, tokens, index_topk]; empty: select anew
  std::vector<int32_t> num_selected;  // [layers, tokens]; with topk
};

// One sequence, from position 0. `tokens`: at least one, each below vocab_size. `replay`: of as many tokens of the same
// model; null: nothing is given.
struct LearnerItem {
  std::span<const TokenId> tokens;
  const Replay* replay = nullptr;
};

// How far the loss goes back.
struct BackwardOptions {
  bool model = true;         // logits to every weight but the indexers'
  float indexer_weight = 0;  // of KL(p || softmax(I)) of one row and layer, added to the loss (training.md 2)
  float balance_weight = 0;  // of the sequence-wise balance loss (alpha), mean over tokens
  // With indexer_weight > 0: sees the attention of each row of the last Forward, [positions that it attends to], mean
  // over heads. Called from the pool's threads.
  std::function<void(int64_t layer, int64_t row, std::span<const float> p)> on_attention = {};
};

struct BackwardLosses {
  double indexer_kl = 0;  // sum over rows, and over layers with an indexer
  double balance = 0;     // sum over layers of the mean over tokens, without alpha
};

class Learner {
 public:
  // Errors: kNoMemory with the numbers, kInvalidArgument for options that contradict the model.
  static Result<std::unique_ptr<Learner>> Create(Parameters& parameters, const KernelSet& kernels, ThreadPool& pool,
                                                 const LearnerOptions& options);
  ~Learner();

  // Runs the sequences and returns logits [tokens of all items, vocab_size], F32: the rows of the first item, then
  // those of the next; row p of an item is of position p and predicts token p + 1. The caller turns them into
  // dL/dlogits in place (a row without a loss into zeros). Valid until the next Forward. Without `head` there are none,
  // [0, vocab_size], for a loss of the indexers alone. It cannot fail: what contradicts the options is the caller's bug
  // and ends the process (MINKE_CHECK): more items than max_sequences, more tokens together than max_tokens, an item
  // longer than max_context. Not checked: token ids, sizes of a replay, and that either all items have a replay of a
  // kind (experts; topk with num_selected) or none.
  TensorView<float, 2> Forward(std::span<const LearnerItem> items, bool head = true);
  // With options.mtp: the MTP layer's logits [tokens - items, vocab_size] of the last Forward, a row for each token but
  // the last of each sequence: row p of a sequence is for token p + 2. To be turned into gradients likewise.
  TensorView<float, 2> MtpLogits();
  // What the last Forward chose for each item [items], to be handed to a later one with the same tokens.
  std::vector<Replay> Choices() const;
  // Adds to gradients(). Reads what Forward and MtpLogits returned as gradients, unless options.model is false. One
  // Backward a Forward: it works in the memory of what the forward pass kept.
  BackwardLosses Backward(const BackwardOptions& options);

  // Layout of Parameters::values.
  std::span<float> gradients();
  void ClearGradients();
  // How many rows went to each expert in Forwards since ClearExpertLoads, [layers with the MTP layer,
  // n_routed_experts].
  TensorView<const int64_t, 2> expert_loads() const;
  void ClearExpertLoads();

 private:
  struct Impl;
  explicit Learner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace minke
