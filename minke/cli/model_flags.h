// The flags of every verb that computes: which model, how much context, which form of attention, and whether the model
// drafts.
#pragma once

#include <memory>
#include <string>

#include "minke/base/json.h"
#include "minke/cli/command.h"
#include "minke/cli/model_path.h"
#include "minke/engine/engine.h"
#include "minke/model/forward.h"
#include "minke/model/model.h"

namespace minke {

struct CacheFlags {
  std::string type = "f32", index_precision;  // index_precision empty: what goes with the type
  CacheFormats formats() const;
};
std::string CacheText(const CacheFormats& formats);  // "INT8", "F32, index keys INT8"

struct ModelFlags {
  std::string model;
  int64_t context = 0;  // tokens; 0: what the model allows
  std::string attention = "dsa", mla = "absorbed", mtp = "auto";
  CacheFlags cache;
  int64_t draft_tokens = 1;
  std::string load, huge_pages = "off";  // load "": mmap, or direct with a limit of memory
  int64_t memory = 0;                    // bytes; 0: no limit

  Attention attention_mode() const { return attention == "dense" ? Attention::kDense : Attention::kDsa; }
  Status CheckGiven() const;  // kInvalidArgument when there is no model
  MlaForm mla_form() const { return mla == "expanded" ? MlaForm::kExpanded : MlaForm::kAbsorbed; }
  // The fields of these flags; the verb adds what is its own.
  EngineOptions engine_options() const;
  // Errors: kInvalidArgument for flags that exclude each other.
  Result<ModelOptions> model_options() const;
};

void AddModelFlags(FlagSet verb, ModelFlags& flags);
void AddCacheFlags(FlagSet verb, CacheFlags& flags);  // part of AddModelFlags
void AddLoadFlags(FlagSet verb, ModelFlags& flags);   // part of AddModelFlags
void AddDraftFlags(FlagSet verb, ModelFlags& flags);  // for verbs that write answers

struct OpenedModel {
  ModelPath path;
  std::shared_ptr<const Model> model;
};
// Finds and opens MODEL. Errors: kInvalidArgument when none was given, those of FindModel and Model::Open.
Result<OpenedModel> OpenModel(const ModelFlags& flags, const CliContext& context);

// "dsa (32 of the context)", "dense (asked for; the model selects 32)" or "mla-dense (the model has no indexer)".
std::string DescribeAttention(const ModelConfig& config, Attention attention);

// "61 of 65 drafts accepted (93.8 %)", or "no drafts".
std::string DescribeDrafts(int64_t drafts, int64_t accepted);
// The same for --json: {"mode", "drafts", "accepted_drafts", "acceptance_rate"}, the rate null without drafts.
OrderedJson DraftsAsJson(const ModelFlags& flags, int64_t drafts, int64_t accepted);

// "812 of 1160 in memory (70.0 %), 101 read ahead, 3.21 GB read", and the same for --json.
std::string DescribeExperts(const ExpertStats& stats);
OrderedJson ExpertsAsJson(const ExpertStats& stats);

// kNoMemory with both numbers when `bytes` for `what` cannot be had.
Status CheckMemory(double bytes, std::string_view what);

}  // namespace minke
