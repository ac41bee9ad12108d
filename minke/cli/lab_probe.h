// What a model does with given tokens, without sampling: its loss, how much of the dense attention its indexers catch,
// and whether it finds what stands in a long document when its selection is replaced.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "minke/base/json.h"
#include "minke/base/thread_pool.h"
#include "minke/cli/training.h"
#include "minke/model/learner.h"
#include "minke/train/document.h"
#include "minke/train/task.h"

namespace minke {

// Whose positions a query attends to.
enum class LabSelection { kDense, kIndexer, kRandom, kWindow };

class LabProbe {
 public:
  static Result<std::unique_ptr<LabProbe>> Open(const std::string& model, const std::string& isa, int threads);

  // Demonstrations of held-out problems.
  Result<std::vector<Document>> HeldOut(const Task& task, uint64_t seed, int64_t count) const;

  // Mean cross-entropy of the documents' targets.
  Result<double> Loss(std::span<const Document> documents, Attention attention) const;

  // Of queries that see more than the indexer selects: the share of the dense attention's mass (mean over heads) that
  // lies on the positions selected in the sparse pass, and the share of its index_topk largest positions among them.
  //   {"by_layer": [{"mass", "topk", "random"}], "by_position": [{"from", "mass", "topk", "random", "queries"}]}
  // "random": the share of positions that the selection is, which is what chance would catch.
  Result<Json> Recall(std::span<const Document> documents) const;

  // Share of documents whose targets are all the most likely token given those before: exactly those that greedy
  // decoding writes. Random selections are drawn from `seed` and have the query's own position; a window is the last
  // index_topk positions.
  Result<double> Exact(std::span<const Document> documents, LabSelection selection, uint64_t seed) const;

  // Logits of a document's last row.
  Result<std::vector<float>> LastLogits(const Document& document) const;
  const ModelConfig& config() const { return parameters_->model()->config(); }

 private:
  LabProbe() = default;
  Result<std::unique_ptr<Learner>> MakeLearner(std::span<const Document> documents, Attention attention) const;

  TrainingSubject subject_;
  const KernelSet* kernels_ = nullptr;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Parameters> parameters_;
};

}  // namespace minke
