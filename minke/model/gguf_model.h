// A GGUF file as the checkpoint it was made from: tensors under the checkpoint's names, and a config.json. Everything
// behind this door, loading, quantizing, converting and inspecting, works on it as on safetensors.
//
// Weights stay in the mapped file, block formats included; the experts of a layer, one tensor in GGUF, become views.
// The exception is kv_b_proj where the file has it as attn_k_b, transposed for each head, and attn_v_b: it is put
// together in memory, in the files' type if that is F32, F16 or BF16, else in F32. So attention has one form, the
// same weights give the same bits from either kind of file, and V3.2's 61 layers take 4 GB.
#pragma once

#include <memory>
#include <string>

#include "minke/base/json.h"
#include "minke/tensor/checkpoint.h"
#include "minke/tensor/gguf.h"

namespace minke {

struct GgufModel {
  std::unique_ptr<Checkpoint> checkpoint;
  Json config;
};
// Errors: kNotFound, kDamaged, kUnsupported, each with file and key or tensor.
Result<GgufModel> OpenGgufModel(const std::string& path);

// The config.json alone, without putting tensors together. Errors: kDamaged, kUnsupported.
Result<Json> ConfigOfGgufFiles(const GgufFiles& files, const std::string& path);

}  // namespace minke
