// minke grad: a loss and the gradient of every tensor under its checkpoint name, for researchers and tests.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "minke/cli/command.h"
#include "minke/cli/model_flags.h"
#include "minke/cli/score_prompts.h"
#include "minke/cli/terminal.h"
#include "minke/model/learner.h"
#include "minke/model/parameters.h"
#include "minke/tensor/safetensors.h"
#include "minke/train/finite.h"
#include "minke/train/grpo.h"
#include "minke/train/loss.h"

namespace minke {
namespace {

struct GradFlags : ModelFlags {
  std::string ids, out, loss = "lm";
  GrpoOptions grpo;
  bool json = false;
};

// What --loss grpo reads beside the ids of one prompt, all of its length but for the advantage.
struct GrpoInputs {
  std::vector<float> old_logprobs, ref_logprobs;
  std::vector<uint8_t> chosen;
  float advantage = 0;
};

Result<std::vector<float>> ReadNumbers(const TensorFile& file, const std::string& path, const std::string& name,
                                       int64_t count) {
  const TensorRef* tensor = file.Find(name);
  if (!tensor || tensor->num_elements() != count)
    return Fail(Code::kInvalidArgument, "{}: --loss grpo needs the tensor {} with {} numbers", path, name, count);
  constexpr DType kReadable[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kI64, DType::kU8};
  if (std::ranges::find(kReadable, tensor->dtype) == std::end(kReadable))
    return Fail(Code::kInvalidArgument, "{}: tensor {} is {}; --loss grpo reads F32, F16, BF16, I64 and U8", path, name,
                DTypeName(tensor->dtype));
  std::vector<float> numbers;
  for (int64_t i = 0; i < count; ++i) {
    if (tensor->dtype == DType::kI64) {
      int64_t value = 0;
      std::memcpy(&value, tensor->bytes.data() + i * 8, sizeof value);
      numbers.push_back(static_cast<float>(value));
    } else if (tensor->dtype == DType::kU8) {
      numbers.push_back(static_cast<float>(std::to_integer<int>(tensor->bytes[static_cast<size_t>(i)])));
    } else {
      numbers.push_back(ValueAt(*tensor, i));
    }
  }
  return numbers;
}

Result<std::vector<GrpoInputs>> ReadGrpoInputs(const GradFlags& flags, std::span<const ScorePrompt> prompts) {
  MINKE_ASSIGN(const auto file, OpenSafetensors(flags.ids));
  std::vector<GrpoInputs> inputs;
  for (const ScorePrompt& prompt : prompts) {
    GrpoInputs& in = inputs.emplace_back();
    const int64_t count = std::ssize(prompt.ids);
    MINKE_ASSIGN(in.old_logprobs, ReadNumbers(*file, flags.ids, "old_logprobs" + prompt.suffix, count));
    MINKE_ASSIGN(const auto chosen, ReadNumbers(*file, flags.ids, "chosen" + prompt.suffix, count));
    for (const float value : chosen) in.chosen.push_back(value != 0);
    in.chosen[0] = 0;  // nothing predicts the first token
    MINKE_ASSIGN(const auto advantage, ReadNumbers(*file, flags.ids, "advantage" + prompt.suffix, 1));
    in.advantage = advantage[0];
    if (flags.grpo.beta <= 0) continue;
    MINKE_ASSIGN(in.ref_logprobs, ReadNumbers(*file, flags.ids, "ref_logprobs" + prompt.suffix, count));
  }
  return inputs;
}

double GrpoOf(const GradFlags& flags, std::span<const ScorePrompt> prompts, std::span<const GrpoInputs> inputs,
              TensorView<float, 2> logits, const KernelSet& kernels, ThreadPool& pool) {
  std::vector<GrpoSequence> sequences;
  int64_t first = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto behind = [](auto& list) { return std::span(list).subspan(std::min<size_t>(1, list.size())); };
    sequences.push_back({.first_row = first,
                         .tokens = behind(prompts[i].ids),
                         .chosen = behind(inputs[i].chosen),
                         .old_logprobs = behind(inputs[i].old_logprobs),
                         .ref_logprobs = behind(inputs[i].ref_logprobs),
                         .kept = nullptr,
                         .advantage = inputs[i].advantage,
                         .weight = 1 / static_cast<float>(prompts.size())});
    first += std::ssize(prompts[i].ids);
  }
  const std::vector<GrpoOptions> options(sequences.size(), flags.grpo);
  return GrpoLoss(kernels, pool, logits, sequences, options).loss;
}

// Every row that has a target weighs the same, and all together 1.
std::vector<float> MeanWeights(std::span<const TokenId> targets) {
  const auto count = static_cast<float>(std::ssize(targets) - std::ranges::count(targets, kNoTarget));
  std::vector<float> weights;
  for (const TokenId target : targets) weights.push_back(target == kNoTarget ? 0 : 1 / count);
  return weights;
}

Result<double> ComputeLoss(const GradFlags& flags, Learner& learner, const KernelSet& kernels, ThreadPool& pool,
                           std::span<const ScorePrompt> prompts) {
  std::vector<GrpoInputs> grpo;
  if (flags.loss == "grpo") {
    MINKE_ASSIGN(grpo, ReadGrpoInputs(flags, prompts));
  }
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
  if (flags.loss == "grpo") {
    const double loss = GrpoOf(flags, prompts, grpo, logits, kernels, pool);
    learner.Backward({});
    return loss;
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
  if (!std::isfinite(loss) || !BrokenTensor(*parameters, learner->gradients()).empty())
    return Fail(Code::kFailed, "{}: loss {}: {}", opened.path.name, loss,
                WhatIsNotFinite(*parameters, learner->gradients()));

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
  verb.Text("--ids", flags->ids,
            "safetensors file with input_ids (I64, [S]), or input_ids.0, .1, ... as one batch; grpo also reads "
            "old_logprobs (F32, [S]), chosen ([S], 1: an action), advantage ([1]) and ref_logprobs of each");
  verb.Text("--out", flags->out,
            "Write loss and gradients (F32, under the checkpoint's names) to this safetensors file");
  verb.Choice("--loss", flags->loss, {"lm", "mtp", "indexer-kl", "grpo"},
              "Mean cross-entropy of the next token (lm), of the one after it by the MTP layer (mtp), the indexers' KL "
              "divergence, mean over rows, sum over layers, or GRPO's objective (grpo)");
  verb.Number("--clip", flags->grpo.clip, 0.0f, 1e6f, "Epsilon of grpo (default 0.2)");
  verb.Number("--beta", flags->grpo.beta, 0.0f, 100.0f, "Weight of grpo's KL term; needs ref_logprobs (default 0)");
  verb.Number("--delta", flags->grpo.delta, 0.0f, 1e6f, "Of grpo's off-policy sequence mask (default 0.05)");
  verb.Number("--temperature", flags->grpo.temperature, 0.01f, 2.0f, "That grpo's answers were sampled at (default 1)");
  verb.Switch("--json", flags->json, "Print the facts as one JSON object");
}

}  // namespace minke
