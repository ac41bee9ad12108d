// How long the kernels of a model's step take on this machine: each is timed on the model's own shapes, number formats
// and caches for a fraction of a second, on made-up numbers. The model's files are not read.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/thread_pool.h"
#include "minke/engine/page_pool.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/model.h"
#include "minke/model/work.h"

namespace minke {

class KernelTimer {
 public:
  // For steps of at most `most_tokens` rows and caches of at most `most_positions`. Errors: kNoMemory;
  // this and what follows may throw std::bad_alloc.
  static Result<std::unique_ptr<KernelTimer>> Create(const Model& model, const KernelSet& kernels, ThreadPool& pool,
                                                     const CacheFormats& cache, int64_t most_tokens,
                                                     int64_t most_positions);

  // Seconds of all rows of a step in one layer, by the threads that the forward pass would use.
  double OfProduct(const Product& product);  // times as often as it says
  // The scores of so many keys for each row, and the choice among them.
  double OfSelection(int64_t rows, double scored);
  // So many rows of a cache of `positions`: those that were selected, or the first.
  double OfAttention(int64_t rows, double attended, bool selected, int64_t positions);
  // Norms, rotations, activations and copies; of all layers.
  double OfRows(int64_t rows, bool selecting);

 private:
  KernelTimer(const Model& model, const KernelSet& kernels, ThreadPool& pool,
              const CacheFormats& cache);  // Create sets up the rest
  ThreadPool& PoolFor(int64_t rows, bool head);
  double MeasureProduct(const Product& product);
  double MeasureMatrix(const Product& product);
  double MeasureHeads(const Product& product);
  double MeasureRow(bool selecting, bool shared);
  WeightView NextWeights(const Product& product, int64_t rows);
  PagedRows NextRows(bool index);

  const ModelConfig& c_;
  const KernelSet& kernels_;
  ThreadPool& pool_;
  bool small_;  // the model: threads do not share a row's matrices
  // Walked through from call to call, so that what a step finds in memory and not in a cache is not in a cache here.
  std::vector<uint8_t> weights_;
  size_t next_weight_ = 0;
  int64_t next_layer_ = 0;
  std::vector<float> scales_, x_, y_;
  std::vector<TileX> codes_;  // of x_
  CacheLayout layout_;        // the model's, perhaps of fewer layers
  std::unique_ptr<PagePool> pages_;
  std::unique_ptr<PageTable> table_;
  std::vector<std::pair<Product, double>> products_;  // known: seconds of one
};

}  // namespace minke
