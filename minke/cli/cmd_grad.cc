// minke grad: a loss and the gradient of every tensor under its checkpoint name, for researchers and tests.
#include <algorithm>

#include "minke/cli/command.h"
#include "minke/cli/model_flags.h"
#include "minke/cli/score_prompts.h"
#include "minke/cli/terminal.h"
#include "minke/model/learner.h"
#include "minke/model/parameters.h"
#include "minke/tensor/safetensors.h"
#include "minke/train/loss.h"

namespace minke {
namespace {

struct GradFlags : ModelFlags {
  std::string ids, out, loss = "lm";
  bool json = false;
};

// Every row that has a target weighs the same, and all together 1.
std::vector<float> MeanWeights(std::span<const TokenId> targets) {
  const auto count = static_cast<float>(std::ssize(targets) - std::ranges::count(targets, kNoTarget));
  std::vector<float> weights;
  for (const TokenId target : targets) weights.push_back(target == kNoTarget ? 0 : 1 / count);
  return weights;
}

Result<double> ComputeLoss(const GradFlags& flags, Learner& learner, const KernelSet& kernels, ThreadPool& pool,
                           std::span<const ScorePrompt> prompts) {
  std::vector<LearnerItem> items;
  std::vector<std::span<const TokenId>> ids;
  int64_t rows = 0;
  for (const ScorePrompt& prompt : prompts) {
    items.push_back({prompt.ids});
    ids.push_back(prompt.ids);
    rows += std::ssize(prompt.ids);
  }
  const auto logits = learner.Forward(items, flags.loss != "indexer-kl");
  if (flags.loss == "indexer-kl") {
    const float weight = 1 / static_cast<float>(rows);
    return learner.Backward({.model = false, .indexer_weight = weight}).indexer_kl / static_cast<double>(rows);
  }
  const bool mtp = flags.loss == "mtp";
  const auto targets = NextTokens(ids, mtp ? 2 : 1, mtp);
  if (std::ranges::count(targets, kNoTarget) == std::ssize(targets))
    return Fail(Code::kInvalidArgument, "{}: no prompt is long enough to predict a token", flags.ids);
  if (mtp)
    for (int64_t r = 0; r < logits.dim(0); ++r) std::ranges::fill(logits[r], 0.0f);
  const double loss = CrossEntropy(kernels, pool, mtp ? learner.MtpLogits() : logits, targets, MeanWeights(targets));
  learner.Backward({});
  return loss;
}

Status Grad(const GradFlags& flags, CliContext& context) {
  if (flags.ids.empty() || flags.out.empty())
    return Fail(Code::kInvalidArgument, "grad: give --ids FILE and --out FILE: see minke help grad");
  MINKE_ASSIGN(const KernelSet* kernels, ChooseKernelSet(context.isa));
  MINKE_ASSIGN(const OpenedModel opened, OpenModel(flags, context));
  const ModelConfig& config = opened.model->config();
  if (flags.loss == "indexer-kl" && !config.has_indexer())
    return Fail(Code::kInvalidArgument, "grad: {} has no indexer", opened.path.name);
  MINKE_ASSIGN(const auto prompts, ReadScorePrompts(flags.ids, config.vocab_size));
  LearnerOptions options{.max_tokens = 0,
                         .max_sequences = std::ssize(prompts),
                         .max_context = 0,
                         .attention = flags.attention_mode(),
                         .mtp = flags.loss == "mtp"};
  for (const ScorePrompt& prompt : prompts) {
    options.max_tokens += std::ssize(prompt.ids);
    options.max_context = std::max(options.max_context, std::ssize(prompt.ids));
  }
  MINKE_ASSIGN(const auto threads, ThreadPool::Create(context.ThreadCount()));
  MINKE_ASSIGN(const auto parameters, Parameters::Copy(*opened.model, *kernels, Parameters::MtpCopies::kApart));
  MINKE_ASSIGN(const auto learner, Learner::Create(*parameters, *kernels, *threads, options));
  const double start = MonotonicSeconds();
  MINKE_ASSIGN(const double loss, ComputeLoss(flags, *learner, *kernels, *threads, prompts));
  const double seconds = MonotonicSeconds() - start;

  const float loss_value = static_cast<float>(loss);
  std::vector<TensorToWrite> tensors{{"loss", DType::kF32, {1}, std::as_bytes(std::span(&loss_value, 1))}};
  for (const Parameter& p : parameters->list()) {
    const auto values = learner->gradients().subspan(static_cast<size_t>(p.offset), static_cast<size_t>(p.size));
    tensors.push_back({p.name, DType::kF32, p.shape, std::as_bytes(values)});
  }
  MINKE_TRY(WriteSafetensors(flags.out, tensors));
  if (flags.json)
    return context.out.WriteLine(DumpJson(Json{
        {"version", 1}, {"loss", loss}, {"tokens", options.max_tokens}, {"seconds", seconds}, {"isa", kernels->name}}));
  return context.out.WriteLine(fmt::format("loss {:.6f} ({}) of {} tokens in {:.3f} s: gradients of {} tensors in {}",
                                           loss, flags.loss, options.max_tokens, seconds, std::ssize(tensors) - 1,
                                           flags.out));
}

}  // namespace

void AddGradCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<GradFlags>();
  FlagSet verb = AddVerb(program, context, "grad", "A loss and the gradient of every tensor, for given token ids",
                         [flags, &context] { return Grad(*flags, context); });
  AddModelFlags(verb, *flags);
  verb.Text("--ids", flags->ids, "safetensors file with input_ids (I64, [S]), or input_ids.0, .1, ... as one batch");
  verb.Text("--out", flags->out,
            "Write loss and gradients (F32, under the checkpoint's names) to this safetensors file");
  verb.Choice("--loss", flags->loss, {"lm", "mtp", "indexer-kl"},
              "Mean cross-entropy of the next token (lm), of the one after it by the MTP layer (mtp), or the indexers' "
              "KL divergence, mean over rows, sum over layers");
  verb.Switch("--json", flags->json, "Print the facts as one JSON object");
}

}  // namespace minke
