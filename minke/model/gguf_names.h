// GGUF's names of tensors beside the checkpoint's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace minke {

// One tensor of a GGUF file as the checkpoint has it: under `name`, or, where experts lie in one tensor, one for each
// expert: `name` with "{}" in the place of its number.
struct CheckpointName {
  std::string name;
  bool experts = false;
};
// Nothing for a name that the table lacks. kv_b_proj is not always one tensor: attn_k_b and attn_v_b are not here.
std::optional<CheckpointName> CheckpointNameOf(std::string_view gguf_name);

// The other way, "blk.3.ffn_up_exps.weight" for any expert's up_proj; nothing for a tensor that GGUF has no name for.
std::optional<std::string> GgufNameOf(std::string_view checkpoint_name);

// "blk.12.attn_k_b.weight" -> 12 and "attn_k_b.weight"; nothing without that form, or for "blk.012.". `prefix` is
// "blk.".
struct LayerName {
  int64_t layer;
  std::string_view rest;
};
std::optional<LayerName> SplitLayerName(std::string_view name, std::string_view prefix);

}  // namespace minke
