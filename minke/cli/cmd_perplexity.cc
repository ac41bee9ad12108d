// minke perplexity: how well a model predicts a text, and how far its predictions are from another model's.
#include <algorithm>
#include <array>
#include <optional>

#include "minke/base/json.h"
#include "minke/cli/command.h"
#include "minke/cli/divergence.h"
#include "minke/cli/model_flags.h"
#include "minke/cli/score_text.h"
#include "minke/cli/terminal.h"
#include "minke/tensor/safetensors.h"

namespace minke {
namespace {

// Of the file of --save-logits: F32 [scored tokens, vocabulary]; what they were computed from, I32 [tokens]; and the
// cut, I64 [window, stride].
constexpr const char *kLogits = "logits", *kInputIds = "input_ids", *kWindows = "windows";

struct PerplexityFlags {
  ModelFlags model;
  std::string text, save_logits, kl_base;
  TextWindows cut;
  bool json = false;
};

// One way to run the model over the text.
struct Row {
  Attention attention;
  Perplexity perplexity;
  std::optional<Divergence> divergence;
};

// "dsa", "dense" or both, with a comma between.
Result<std::vector<Attention>> ParseAttentions(const std::string& text) {
  std::vector<Attention> list;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (word != "dsa" && word != "dense")
      return Fail(Code::kInvalidArgument, "--attention \"{}\": give dsa, dense or dsa,dense", text);
    list.push_back(word == "dsa" ? Attention::kDsa : Attention::kDense);
    begin = end + 1;
  }
  return list;
}

// A text, cut: what a saved file and a run that compares with it must share.
struct ScoredText {
  std::vector<TokenId> ids;
  std::array<int64_t, 2> windows;  // length and stride
};

// Saved logits of another run over the same text.
struct Base {
  std::unique_ptr<TensorFile> file;
  const TensorRef* logits = nullptr;
};

// Whether the file has a tensor of these values.
template <class T>
bool Holds(const TensorFile& file, const char* name, DType dtype, std::span<const T> values) {
  const TensorRef* tensor = file.Find(name);
  return tensor && tensor->dtype == dtype && std::ranges::equal(tensor->bytes, std::as_bytes(values));
}

Result<Base> OpenBase(const std::string& path, int64_t vocab_size, const ScoredText& text) {
  Base base;
  MINKE_ASSIGN(base.file, OpenSafetensors(path));
  base.logits = base.file->Find(kLogits);
  if (!base.logits || base.logits->dtype != DType::kF32 || base.logits->shape.size() != 2 ||
      base.logits->shape[1] != vocab_size)
    return Fail(Code::kInvalidArgument,
                "{}: has no F32 tensor \"{}\" of {} columns: make it with minke perplexity --save-logits", path,
                kLogits, vocab_size);
  if (!Holds<TokenId>(*base.file, kInputIds, DType::kI32, text.ids) ||
      !Holds<int64_t>(*base.file, kWindows, DType::kI64, text.windows))
    return Fail(
        Code::kInvalidArgument,
        "{}: its logits are of another text or cut than these {} tokens in windows of {}, stride {}: make it anew "
        "with minke perplexity --save-logits",
        path, text.ids.size(), text.windows[0], text.windows[1]);
  return base;
}

Result<Row> Measure(const PerplexityFlags& flags, const OpenedModel& opened, const KernelSet& kernels, ThreadPool& pool,
                    Attention attention, const ScoredText& text, const Base& base, Progress& progress) {
  const int64_t vocab = opened.model->config().vocab_size;
  Row result;
  result.attention = attention;
  if (base.logits) result.divergence.emplace();
  std::vector<float> saved;
  const auto row = [&](std::span<const float> logits) -> Status {
    if (!flags.save_logits.empty()) {
      if (const size_t needed = saved.size() + logits.size(); needed > saved.capacity())  // it grows twofold
        MINKE_TRY(CheckMemory(2.0 * sizeof(float) * static_cast<double>(needed), "the saved logits"));
      saved.insert(saved.end(), logits.begin(), logits.end());
    }
    if (!result.divergence) return {};
    const int64_t index = result.divergence->rows();
    if (index >= base.logits->shape[0]) return {};                                 // counted below
    const auto* rows = reinterpret_cast<const float*>(base.logits->bytes.data());  // 4-byte aligned: the parser checked
    result.divergence->Add(std::span(rows + index * vocab, static_cast<size_t>(vocab)), logits, kernels);
    return {};
  };
  ScoreRunOptions options;
  options.attention = attention, options.mla_form = flags.model.mla_form();
  options.cache = flags.model.cache.formats();
  MINKE_ASSIGN(result.perplexity,
               MeasurePerplexity(opened, kernels, pool, text.ids, flags.cut, options, progress, row));
  if (base.logits && base.logits->shape[0] != result.perplexity.scored)
    return Fail(Code::kDamaged, "{}: has {} rows, but {} tokens were scored", flags.kl_base, base.logits->shape[0],
                result.perplexity.scored);
  if (!flags.save_logits.empty()) {
    const std::array<TensorToWrite, 3> tensors = {{
        {kLogits, DType::kF32, {result.perplexity.scored, vocab}, std::as_bytes(std::span(saved))},
        {kInputIds, DType::kI32, {static_cast<int64_t>(text.ids.size())}, std::as_bytes(std::span(text.ids))},
        {kWindows, DType::kI64, {2}, std::as_bytes(std::span(text.windows))},
    }};
    MINKE_TRY(WriteSafetensors(flags.save_logits, tensors));
  }
  return result;
}

Json RowJson(const Row& row, const ModelConfig& config) {
  const Perplexity& p = row.perplexity;
  Json json = {{"attention", DescribeAttention(config, row.attention)},
               {"perplexity", p.value()},
               {"error", p.error()},
               {"mean_nll", p.mean_nll()},
               {"scored_tokens", p.scored},
               {"seconds", p.seconds},
               {"tokens_per_s", p.seconds > 0 ? static_cast<double>(p.tokens) / p.seconds : 0.0}};
  if (row.divergence)
    json["kl"] = {{"mean", row.divergence->mean()},
                  {"error", row.divergence->error()},
                  {"p99", row.divergence->quantile(0.99)},
                  {"max", row.divergence->quantile(1)},
                  {"same_top", row.divergence->same_top()}};
  return json;
}

std::string RowText(const Row& row, const ModelConfig& config) {
  const Perplexity& p = row.perplexity;
  std::string text = fmt::format("perplexity {:.4f} +- {:.4f} over {} tokens, attention {}\n", p.value(), p.error(),
                                 p.scored, DescribeAttention(config, row.attention));
  if (row.divergence)
    text += fmt::format(
        "KL divergence from the base {:.6f} +- {:.6f} nats, 99th percentile {:.6f}, largest {:.6f}; "
        "same most likely token {:.2f} %\n",
        row.divergence->mean(), row.divergence->error(), row.divergence->quantile(0.99), row.divergence->quantile(1),
        100 * row.divergence->same_top());
  return text;
}

Status MeasureAll(const PerplexityFlags& flags, CliContext& context) {
  if (flags.text.empty())
    return Fail(Code::kInvalidArgument, "perplexity: -f FILE is missing: see minke help perplexity");
  if (flags.cut.stride > flags.cut.window)
    return Fail(Code::kInvalidArgument, "--stride {} is more than the window of {} tokens: some would never be scored",
                flags.cut.stride, flags.cut.window);
  MINKE_ASSIGN(const std::vector<Attention> attentions, ParseAttentions(flags.model.attention));
  if (!flags.save_logits.empty() && attentions.size() > 1)
    return Fail(Code::kInvalidArgument, "--save-logits goes with one --attention");
  MINKE_ASSIGN(const KernelSet* kernels, ChooseKernelSet(context.isa));
  MINKE_ASSIGN(const OpenedModel opened, OpenModel(flags.model, context));
  ScoredText text{.ids = {}, .windows = {flags.cut.window, flags.cut.stride > 0 ? flags.cut.stride : flags.cut.window}};
  MINKE_ASSIGN(text.ids, EncodeText(opened, flags.text));
  Base base;
  if (!flags.kl_base.empty()) {
    MINKE_ASSIGN(base, OpenBase(flags.kl_base, opened.model->config().vocab_size, text));
  }
  MINKE_ASSIGN(const auto pool, ThreadPool::Create(context.ThreadCount()));
  const ModelConfig& config = opened.model->config();
  Json rows = Json::array();
  std::string lines;
  for (const Attention attention : attentions) {
    Progress progress("scoring", "tokens", !context.quiet);
    MINKE_ASSIGN(const Row row, Measure(flags, opened, *kernels, *pool, attention, text, base, progress));
    rows.push_back(RowJson(row, config));
    lines += RowText(row, config);
  }
  if (!flags.json) return context.out.Write(lines);
  const Json report = {{"version", 1},
                       {"model", opened.path.name},
                       {"isa", kernels->name},
                       {"window", text.windows[0]},
                       {"stride", text.windows[1]},
                       {"rows", std::move(rows)}};
  return context.out.WriteLine(DumpJson(report));
}

}  // namespace

void AddPerplexityCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<PerplexityFlags>();
  FlagSet verb = AddVerb(program, context, "perplexity", "Perplexity of a text, and divergence from another model's",
                         [flags, &context] { return MeasureAll(*flags, context); });
  verb.Text("-m,--model,MODEL", flags->model.model, kModelHelp);
  verb.Text("-f,--file", flags->text, "UTF-8 text; markers count as tokens");
  verb.Number("-c,--ctx-size", flags->cut.window, 2, 1 << 30,
              "Tokens in one window, each alone from position 0, its first token not scored (default 384)");
  verb.Number("--stride", flags->cut.stride, 1, 1 << 30,
              "From one window to the next; tokens of overlaps are scored once (default: the window)");
  verb.Text("--save-logits", flags->save_logits,
            "Write the logits, and the token ids they are of, to this safetensors file");
  verb.Text("--kl-base", flags->kl_base, "Divergence from logits that --save-logits wrote over the same text");
  verb.Text("--attention", flags->model.attention, "dsa, dense, or dsa,dense side by side (default dsa)");
  verb.Choice("--mla", flags->model.mla, {"absorbed", "expanded"}, "Form of dense attention");
  AddCacheFlags(verb, flags->model.cache);
  AddLoadFlags(verb, flags->model);
  verb.Switch("--json", flags->json, "One JSON object");
}

}  // namespace minke
