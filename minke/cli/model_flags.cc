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
    context.Warn(fmt::format("{}: {} tensors are not used, {} the first: config.json does not call for them",
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

Status CheckMemory(double bytes, std::string_view what) {
  const int64_t available = AvailableMemoryBytes();
  if (bytes <= static_cast<double>(available)) return {};
  return Fail(Code::kNoMemory,
              "not enough memory: {} needs {:.0f} MiB, {} MiB are available: use less of it or another machine", what,
              bytes / (1 << 20), available >> 20);
}

}  // namespace minke
