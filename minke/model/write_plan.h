// Which tensor of a checkpoint becomes what, and in which shard it goes: decided before anything is written.
#pragma once

#include <cstdint>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "minke/base/result.h"
#include "minke/model/model.h"
#include "minke/tensor/weight_view.h"

namespace minke {

// Matrices whose name holds a match of `pattern` become `type`, or stay as stored. The first rule that matches wins.
struct QuantizeRule {
  std::string text;  // as given: "lm_head=q8"
  std::regex pattern;
  std::optional<DType> type;
};

// "REGEX=TYPE", TYPE one of q8, q6, q4, keep. Error: kInvalidArgument.
Result<QuantizeRule> ParseQuantizeRule(const std::string& text);
Result<std::optional<DType>> ParseQuantizeType(std::string_view text);  // the TYPE alone; nullopt is "keep"

// kInvalidArgument for a rule that can change nothing: its pattern is in the name of no tensor, or, where TYPE is not
// keep, of no matrix that may get one.
Status CheckRulesMatch(const Model& model, const std::vector<QuantizeRule>& rules);

struct PlannedTensor {
  std::string name;
  std::optional<DType> type;  // a tile type, or what CanEncode says; nothing: copied as it is stored
  WeightView source;          // of a matrix that gets a type
  int64_t bytes = 0;          // written, row scales included
};

struct WritePlan {
  std::vector<std::vector<PlannedTensor>> shards;
  int64_t bytes = 0;
};

// Everything but the matrices of the forward pass is copied: norms and biases, and what the configuration does not call
// for. Of the matrices the router and the indexer's weights_proj are copied too, and kv_b_proj where its heads are not
// whole tiles (HeadsAreTiles). Of the others the embedding and the head, whose errors reach every token, are kQ6 at
// least. Block scales go with the FP8 matrix they belong to. A shard holds at most `shard_bytes`, or one tensor.
// Matrices in GGUF's blocks that stay exact become F32, which safetensors can hold.
WritePlan PlanQuantization(const Model& model, DType type, const std::vector<QuantizeRule>& rules, int64_t shard_bytes);

// Matrices become `dtype` (kF32, kF16 or kBF16), the router alone stays as it is stored; without a dtype all stay, but
// GGUF's blocks become BF16. What is copied, and the shards, are as above.
WritePlan PlanConversion(const Model& model, std::optional<DType> dtype, int64_t shard_bytes);

}  // namespace minke
