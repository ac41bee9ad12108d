// minke quantize and minke convert: a model written anew as an ordinary folder of safetensors.
//
// The work is done in OUT.partial, shard by shard, each written atomically and then noted in a record, and the folder
// gets its name at the end: so OUT is whole or absent, and an interrupted run goes on where it was. Memory holds what
// was computed of one shard; what is copied passes from file to file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "minke/base/json.h"
#include "minke/base/thread_pool.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/write_plan.h"

namespace minke {

// What goes with the weights.
struct ModelFiles {
  Json config;         // of config.json
  std::string folder;  // whose small files are copied (tokenizer, templates, licences); empty: none
  std::vector<std::pair<std::string, std::string>> texts;  // names and contents of others
};

// What lies beside the weights of a model folder: all small files but those that are written anew.
Status CopySideFiles(const std::string& from, const std::string& to);

// Speaks of bytes written.
using ProgressFn = std::function<void(double done, double total)>;

struct QuantizeOptions {
  DType type = DType::kQ8;
  std::vector<QuantizeRule> rules;
  int64_t shard_bytes = int64_t{512} << 20;
};

// The content of OUT/quantize.json:
//   {"version": 2, "type": "q4", "rules": [...], "shard_bytes": 536870912,
//    "source": {file: {"path": canonical, "bytes", "changed": nanoseconds as text}, ...},
//    "shards": [{"file": ..., "tensors": [{"name", "shape", "type": "Q4", "bytes", "relative_rms"}]}]}
// `tensors` are the matrices in tiles; relative_rms is sqrt(sum (W - W')^2 / sum W^2).
// Errors: kInvalidArgument if `out` exists or the model is in tiles already; kCannotResume if OUT.partial belongs to
// other work, or holds a record or shard that this program did not write; kDamaged, kFailed with the file.
Result<Json> QuantizeCheckpoint(const Model& model, ModelFiles files, const std::string& out,
                                const QuantizeOptions& options, const KernelSet& kernels, ThreadPool& pool,
                                const ProgressFn& progress);

struct ConvertOptions {
  std::optional<DType> dtype;  // of the matrices (PlanConversion)
  int64_t shard_bytes = int64_t{512} << 20;
};

// The same without tiles: other shards, another dtype, or safetensors from GGUF. The record is OUT/convert.json.
Result<Json> ConvertCheckpoint(const Model& model, ModelFiles files, const std::string& out,
                               const ConvertOptions& options, const KernelSet& kernels, ThreadPool& pool,
                               const ProgressFn& progress);

// All rows of `w` in another type (CanEncode). False if a value is not finite, or is beyond LargestOf(type).
bool EncodeMatrix(const WeightView& w, DType type, const KernelSet& kernels, ThreadPool& pool,
                  std::vector<std::byte>& out);

}  // namespace minke
