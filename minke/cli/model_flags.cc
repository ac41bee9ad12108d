#include "minke/cli/model_flags.h"

#include "minke/base/available_memory.h"
#include "minke/model/facts.h"

namespace minke {

void AddModelFlags(FlagSet verb, ModelFlags& flags) {
  verb.Text("-m,--model,MODEL", flags.model, kModelHelp);
  verb.Number("-c,--context,--ctx-size,--max-model-len", flags.context, 0, int64_t{1} << 32,
              "Longest prompt and answer, in tokens (default: what the model allows)");
  verb.Choice("--attention", flags.attention, {"dsa", "dense"}, "dsa, or dense for comparison");
  verb.Choice("--mla", flags.mla, {"absorbed", "expanded"}, "Form of the attention: absorbed or expanded");
  AddIndexFlag(verb, flags.index);
}

void AddIndexFlag(FlagSet verb, std::string& index) {
  verb.Choice("--index-precision", index, {"exact", "int8"},
              "Index scores in F32, or on 8-bit keys: faster at long contexts, nearly the same selection");
}

void AddDraftFlags(FlagSet verb, ModelFlags& flags) {
  verb.Choice("--mtp", flags.mtp, {"off", "auto", "on"},
              "Drafts by the model's MTP layer: off, on, or auto: while they make it faster. Answers stay the same");
  verb.Number("--draft-tokens", flags.draft_tokens, 1, kMaxDraftTokens, "Tokens that --mtp drafts at once (default 1)");
}

EngineOptions ModelFlags::engine_options() const {
  EngineOptions options;
  options.context = context;
  options.attention = attention_mode();
  options.mla_form = mla_form();
  options.index_precision = index_precision();
  options.speculation = mtp == "off" ? Speculation::kOff : mtp == "on" ? Speculation::kAlways : Speculation::kAuto;
  options.draft_tokens = draft_tokens;
  return options;
}

Status ModelFlags::CheckGiven() const {
  if (!model.empty()) return {};
  return Fail(Code::kInvalidArgument, "no model given: name {}", "a folder, a hub name or \"nano\"");
}

Result<OpenedModel> OpenModel(const ModelFlags& flags, const CliContext& context) {
  MINKE_TRY(flags.CheckGiven());
  OpenedModel opened;
  MINKE_ASSIGN(opened.path, FindModel(flags.model));
  MINKE_ASSIGN(opened.model, Model::Open(opened.path.path));
  if (const auto& unused = UnusedTensors(*opened.model); !unused.empty()) {
    context.Warn(fmt::format("{}: {} tensors are not used, {} the first: its configuration does not call for them",
                             opened.path.name, unused.size(), unused.front()));
  }
  if (context.verbose) context.Note(fmt::format("model {}: {}", opened.path.name, opened.path.path));
  return opened;
}

std::string DescribeAttention(const ModelConfig& config, Attention attention) {
  if (!config.has_indexer()) return "mla-dense (the model has no indexer)";
  if (attention == Attention::kDense) return fmt::format("dense (asked for; the model selects {})", config.index_topk);
  return fmt::format("dsa (selects {})", config.index_topk);
}

std::string DescribeDrafts(int64_t drafts, int64_t accepted) {
  if (drafts == 0) return "no drafts";
  return fmt::format("{} of {} drafts accepted ({:.1f} %)", accepted, drafts,
                     100 * static_cast<double>(accepted) / static_cast<double>(drafts));
}

OrderedJson DraftsAsJson(const ModelFlags& flags, int64_t drafts, int64_t accepted) {
  OrderedJson json = {{"mode", flags.mtp}, {"drafts", drafts}, {"accepted_drafts", accepted}};
  json["acceptance_rate"] =
      drafts > 0 ? OrderedJson(static_cast<double>(accepted) / static_cast<double>(drafts)) : nullptr;
  return json;
}

Status CheckMemory(double bytes, std::string_view what) {
  const int64_t available = AvailableMemoryBytes();
  if (bytes <= static_cast<double>(available)) return {};
  return Fail(Code::kNoMemory,
              "not enough memory: {} needs {:.0f} MiB, {} MiB are available: use less of it or another machine", what,
              bytes / (1 << 20), available >> 20);
}

}  // namespace minke
