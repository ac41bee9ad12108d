// The metadata of a GGUF file as a config.json says it; gguf_export.h has the way back. ParseModelConfig then judges it
// like any other.
// Source: llama.cpp's converters and loaders for deepseek2, deepseek32 and glm-dsa.
#pragma once

#include <string>
#include <string_view>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/tensor/gguf.h"

namespace minke {

// What the tensors say where the metadata does not.
struct GgufTensorFacts {
  bool has_output = false;      // else the embedding is the head
  bool has_correction = false;  // exp_probs_b: a router of DeepSeek-V3's kind
  bool has_split_kv_b = false;  // attn_k_b: then the lengths of heads are the _mla ones
  int64_t vocab_size = 0;       // rows of token_embd
};

// Errors: kUnsupported for another architecture, router or a key that changes the equations, by name; kDamaged for a
// key that is missing, of the wrong kind, or no number that can be meant.
Result<Json> ConfigOfGguf(const GgufMetadata& metadata, const GgufTensorFacts& facts, std::string_view where);

}  // namespace minke
