// The flags of every verb that computes: which model, how much context, which form of attention.
#pragma once

#include <memory>
#include <string>

#include "minke/cli/command.h"
#include "minke/cli/model_path.h"
#include "minke/model/forward.h"
#include "minke/model/model.h"

namespace minke {

struct ModelFlags {
  std::string model;
  int64_t context = 0;  // tokens; 0: what the model allows
  std::string attention = "dsa", mla = "absorbed";

  Attention attention_mode() const { return attention == "dense" ? Attention::kDense : Attention::kDsa; }
  Status CheckGiven() const;  // kInvalidArgument when there is no model
  MlaForm mla_form() const { return mla == "expanded" ? MlaForm::kExpanded : MlaForm::kAbsorbed; }
};

void AddModelFlags(FlagSet verb, ModelFlags& flags);

struct OpenedModel {
  ModelPath path;
  std::shared_ptr<const Model> model;
};
// Finds and opens MODEL. Errors: kInvalidArgument when none was given, those of FindModel and Model::Open.
Result<OpenedModel> OpenModel(const ModelFlags& flags, const CliContext& context);

// "dsa (32 of the context)", "dense (asked for; the model selects 32)" or "mla-dense (the model has no indexer)".
std::string DescribeAttention(const ModelConfig& config, Attention attention);

// kNoMemory with both numbers when `bytes` for `what` cannot be had.
Status CheckMemory(double bytes, std::string_view what);

}  // namespace minke
