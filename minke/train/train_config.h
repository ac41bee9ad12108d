// The configuration of `minke train`: a run of one or more stages (docs/training.md has every key).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/model/forward.h"
#include "minke/train/dataset.h"
#include "minke/train/optimizer.h"

namespace minke {

// What a stage trains, by what loss, through which attention (V3.2 report 2.1.1, 3):
//   pretrain, sft      the model by the language-model loss, dense attention, the indexers frozen
//   indexer-warmup     the indexers alone, by their KL to the dense attention
//   sparse, distill    both, each by its own loss, through sparse attention
enum class StageKind { kPretrain, kSft, kIndexerWarmup, kSparse, kDistill };

struct StageConfig {
  StageKind kind = StageKind::kSft;
  std::vector<std::string> data;  // files of JSON lines, or text
  int64_t steps = 0;
  int64_t sequence_tokens = 512;  // documents are packed into sequences of so many
  int64_t batch_tokens = 4096;    // in one step: as many sequences as fit, at least one
  int64_t micro_tokens = 8192;    // in one forward pass: likewise; changes memory, and bits
  double lr = 1e-3, lr_end = 1e-3;
  int64_t warmup_steps = 0, decay_steps = 0;
  double indexer_lr = 1e-3;
  double mtp_weight = 0;      // of the MTP layer's loss; 0: the layer is left as it is
  double bias_speed = 0;      // gamma of the router's bias
  double balance_weight = 0;  // alpha of the sequence-wise balance loss
  bool dense = true;          // attention

  bool trains_model() const { return kind != StageKind::kIndexerWarmup; }
  bool trains_indexer() const { return kind != StageKind::kPretrain && kind != StageKind::kSft && indexer_lr > 0; }
  const char* name() const;
};

struct TrainConfig {
  std::string out;    // the run's folder
  std::string model;  // weights to start from: what MODEL is on the command line; or
  std::string init;   // a folder with config.json and tokenizer.json, for random weights
  double init_sigma = 0.02;
  uint64_t seed = 1;
  std::string dtype = "f32";
  int64_t threads = 0;             // 0: the command line's
  int64_t checkpoint_every = 200;  // steps
  bool skip_bad_lines = false, cut_long = false, shuffle = true;
  AdamWOptions adamw;
  std::vector<StageConfig> stages;

  int64_t total_steps() const;
  // All that the weights depend on, for the record: another one cannot resume.
  Json ToJson() const;
};

// Errors: kInvalidArgument with file, line and key.
Result<TrainConfig> ReadTrainConfig(const std::string& path);

}  // namespace minke
