// minke quantize: a checkpoint with its matrices in tiles (tensor/tile.h), as an ordinary folder of safetensors.
//
// The work is done in OUT.partial, shard by shard, each written atomically and then noted in quantize.json, and the
// folder gets its name at the end: so OUT is whole or absent, and an interrupted run goes on where it was. Memory holds
// one shard of tiles.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "minke/base/json.h"
#include "minke/base/thread_pool.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/quantize_plan.h"

namespace minke {

struct QuantizeOptions {
  DType type = DType::kQ8;
  std::vector<QuantizeRule> rules;
  int64_t shard_bytes = int64_t{512} << 20;
};

// The content of OUT/quantize.json:
//   {"version": 1, "type": "q4", "rules": [...], "source": {file: bytes, ...},
//    "shards": [{"file": ..., "tensors": [{"name", "shape", "type": "Q4", "bytes", "relative_rms"}]}]}
// `tensors` are the matrices in tiles; relative_rms is sqrt(sum (W - W')^2 / sum W^2).
//
// `folder` holds config.json and whatever else goes with the model; small files are copied. `progress(done, total)`
// speaks of bytes written. Errors: kInvalidArgument if `out` exists or the model is in tiles already; kCannotResume if
// OUT.partial belongs to another quantization; kDamaged, kFailed with the file.
Result<Json> QuantizeCheckpoint(const Model& model, const std::string& folder, const std::string& out,
                                const QuantizeOptions& options, const KernelSet& kernels, ThreadPool& pool,
                                const std::function<void(double done, double total)>& progress);

}  // namespace minke
