#include "minke/cli/model_flags.h"

#include "minke/base/available_memory.h"
#include "minke/cli/fit.h"
#include "minke/model/facts.h"

namespace minke {

void AddModelFlags(FlagSet verb, ModelFlags& flags) {
  verb.Text("-m,--model,MODEL", flags.model, kModelHelp);
  verb.Number("-c,--context,--ctx-size,--max-model-len", flags.context, 0, int64_t{1} << 32,
              "Longest prompt and answer, in tokens (default: what the model allows)");
  verb.Choice("--attention", flags.attention, {"dsa", "dense"}, "dsa, or dense for comparison");
  verb.Choice("--mla", flags.mla, {"absorbed", "expanded"}, "Form of the attention: absorbed or expanded");
  AddCacheFlags(verb, flags.cache);
  AddLoadFlags(verb, flags);
}

void AddLoadFlags(FlagSet verb, ModelFlags& flags) {
  verb.Choice("--load", flags.load, {"mmap", "read", "direct"},
              "Weights are mapped (default), or read into memory at the start, through the page cache or past it");
  verb.Bytes(
      "--memory", flags.memory,
      "Memory for all there is, as in 8G or 500MiB: experts that do not fit are read from disk when they are used");
  verb.Choice("--huge-pages", flags.huge_pages, {"off", "auto", "on"},
              "For weights that --load or --memory reads: none (default), transparent ones, or reserved ones (on, "
              "vm.nr_hugepages)");
}

void AddCacheFlags(FlagSet verb, CacheFlags& flags) {
  verb.Choice("--cache-type", flags.type, {"f32", "bf16", "fp8", "int8"},
              "How the cache keeps latents: exactly (f32), smaller (bf16, fp8), or for 8-bit products, which are the "
              "fastest (int8)");
  verb.Choice("--index-precision", flags.index_precision, {"exact", "bf16", "fp8", "int8"},
              "How it keeps index keys (default: exact with f32, else as latents); int8 scores in 8-bit products");
}

CacheFormats CacheFlags::formats() const {
  const auto format = [](std::string_view name) {
    return name == "bf16"   ? RowFormat::kBF16
           : name == "fp8"  ? RowFormat::kFp8
           : name == "int8" ? RowFormat::kInt8
                            : RowFormat::kF32;
  };
  return {.latents = format(type), .index_keys = format(index_precision.empty() ? type : index_precision)};
}

std::string CacheText(const CacheFormats& formats) {
  const auto name = [](RowFormat format) {
    return format == RowFormat::kF32    ? "F32"
           : format == RowFormat::kBF16 ? "BF16"
           : format == RowFormat::kFp8  ? "FP8"
                                        : "INT8";
  };
  if (formats.latents == formats.index_keys) return name(formats.latents);
  return fmt::format("{}, index keys {}", name(formats.latents), name(formats.index_keys));
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
  options.cache = cache.formats();
  options.speculation = mtp == "off" ? Speculation::kOff : mtp == "on" ? Speculation::kAlways : Speculation::kAuto;
  options.draft_tokens = draft_tokens;
  return options;
}

Status ModelFlags::CheckGiven() const {
  if (!model.empty()) return {};
  return Fail(Code::kInvalidArgument, "no model given: name {}", "a folder, a hub name or \"nano\"");
}

Result<ModelOptions> ModelFlags::model_options() const {
  if (memory > 0 && load == "mmap")
    return Fail(Code::kInvalidArgument, "--memory with --load mmap: mapped weights take what the system gives: {}",
                "use --load direct or read");
  if (huge_pages != "off" && memory == 0 && (load.empty() || load == "mmap"))
    return Fail(Code::kInvalidArgument, "--huge-pages {} with mapped weights does nothing: use --load direct or read",
                huge_pages);
  const bool direct = load == "direct" || (load.empty() && memory > 0);
  return ModelOptions{.load = direct           ? Load::kDirect
                              : load == "read" ? Load::kRead
                                               : Load::kMmap,
                      .huge_pages = huge_pages == "auto" ? HugePages::kAuto
                                    : huge_pages == "on" ? HugePages::kOn
                                                         : HugePages::kOff,
                      .memory_bytes = memory};
}

Result<OpenedModel> OpenModel(const ModelFlags& flags, const CliContext& context) {
  MINKE_TRY(flags.CheckGiven());
  OpenedModel opened;
  MINKE_ASSIGN(opened.path, FindModel(flags.model));
  MINKE_ASSIGN(const ModelOptions options, flags.model_options());
  MINKE_ASSIGN(opened.model, Model::Open(opened.path.path, options));
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

std::string DescribeExperts(const ExpertStats& stats) {
  return fmt::format("{} of {} in memory ({:.1f} %), {} read ahead, {} read", stats.hits, stats.needed,
                     100 * stats.hit_rate(), stats.prefetched, BytesText(stats.read_bytes));
}

OrderedJson ExpertsAsJson(const ExpertStats& stats) {
  return {{"needed", stats.needed},
          {"hits", stats.hits},
          {"hit_rate", stats.hit_rate()},
          {"read_ahead", stats.prefetched},
          {"missed_bytes", stats.missed_bytes},
          {"read_bytes", stats.read_bytes}};
}

Status CheckMemory(double bytes, std::string_view what) {
  const int64_t available = AvailableMemoryBytes();
  if (bytes <= static_cast<double>(available)) return {};
  return Fail(Code::kNoMemory,
              "not enough memory: {} needs {:.0f} MiB, {} MiB are available: use less of it or another machine", what,
              bytes / (1 << 20), available >> 20);
}

}  // namespace minke
