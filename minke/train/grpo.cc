#include "minke/train/grpo.h"

#include <algorithm>
#include <cmath>

#include "minke/base/check.h"

namespace minke {
namespace {

std::span<const TokenId> KeptAt(const KeptSets* kept, size_t i) {
  return kept ? kept->At(i) : std::span<const TokenId>();
}

// logits of `kept` over temperature, in the order of `kept`.
std::vector<float> Gather(std::span<const float> logits, float temperature, std::span<const TokenId> kept) {
  std::vector<float> gathered;
  if (kept.empty()) {
    for (const float l : logits) gathered.push_back(l / temperature);
  } else {
    for (const TokenId token : kept) gathered.push_back(logits[static_cast<size_t>(token)] / temperature);
  }
  return gathered;
}

// What one token of a sequence adds, and d(objective)/d(logprob).
struct TokenTerm {
  double objective = 0, kl = 0, slope = 0;
  bool clipped = false;
};
TokenTerm TermOf(double logprob, double old_logprob, double ref_logprob, double advantage, bool masked,
                 const GrpoOptions& o) {
  TokenTerm term;
  const double ratio = std::exp(logprob - old_logprob);
  const double low = 1 - static_cast<double>(o.clip), high = 1 + static_cast<double>(o.clip);
  term.clipped = (advantage > 0 && ratio > high) || (advantage < 0 && ratio < low);
  if (!masked) {
    term.objective = std::min(ratio * advantage, std::clamp(ratio, low, high) * advantage);
    if (!term.clipped) term.slope = ratio * advantage;
  }
  if (o.beta > 0) {
    const double behind = ref_logprob - logprob, k3 = std::exp(behind) - behind - 1;
    const double beta = static_cast<double>(o.beta);
    term.kl = o.unbiased_kl ? ratio * k3 : k3;
    term.objective -= beta * term.kl;
    // Of rho * K3 exactly rho (l - r), with no exponential of r - l left; of K3 alone 1 - e^(r - l).
    term.slope -= beta * (o.unbiased_kl ? -ratio * behind : 1 - std::exp(behind));
  }
  return term;
}

// logits become -weight * d(logprob of token)/d(logits).
void LogprobGradient(const KernelSet& kernels, std::span<float> logits, TokenId token, float temperature,
                     std::span<const TokenId> kept, float weight) {
  if (kept.empty() && temperature == 1) {
    kernels.cross_entropy_grad(logits.data(), std::ssize(logits), token, weight);
    return;
  }
  std::vector<float> p = Gather(logits, temperature, kept);
  kernels.softmax(p.data(), std::ssize(p));
  std::ranges::fill(logits, 0.0f);
  const float scale = weight / temperature;
  for (size_t i = 0; i < p.size(); ++i) logits[kept.empty() ? i : static_cast<size_t>(kept[i])] = p[i] * scale;
  logits[static_cast<size_t>(token)] -= scale;
}

}  // namespace

float PolicyLogprob(const KernelSet& kernels, std::span<const float> logits, TokenId token, float temperature,
                    std::span<const TokenId> kept) {
  if (kept.empty() && temperature == 1)
    return logits[static_cast<size_t>(token)] - kernels.log_sum_exp(logits.data(), std::ssize(logits));
  const std::vector<float> gathered = Gather(logits, temperature, kept);
  return logits[static_cast<size_t>(token)] / temperature - kernels.log_sum_exp(gathered.data(), std::ssize(gathered));
}

GrpoFacts GrpoLoss(const KernelSet& kernels, ThreadPool& pool, TensorView<float, 2> logits,
                   std::span<const GrpoSequence> sequences, std::span<const GrpoOptions> options_of) {
  MINKE_CHECK(options_of.size() == sequences.size());
  for (const GrpoSequence& s : sequences) {
    const size_t count = s.tokens.size();
    MINKE_CHECK(s.first_row >= 0 && s.first_row + std::ssize(s.tokens) <= logits.dim(0));
    MINKE_CHECK(s.chosen.size() == count && s.old_logprobs.size() == count);
    MINKE_CHECK(s.ref_logprobs.empty() || s.ref_logprobs.size() == count);
    MINKE_CHECK(!s.kept || s.kept->begin.size() == count + 1);
  }
  std::vector<uint8_t> has_loss(static_cast<size_t>(logits.dim(0)));
  std::vector<GrpoFacts> parts(sequences.size());
  pool.Run(std::ssize(sequences), [&](int64_t s, int) {
    const GrpoSequence& sequence = sequences[static_cast<size_t>(s)];
    const GrpoOptions& options = options_of[static_cast<size_t>(s)];
    GrpoFacts& facts = parts[static_cast<size_t>(s)];
    facts.sequences = 1;
    const size_t count = sequence.tokens.size();
    std::vector<float> logprobs(count);
    double drift = 0;  // sum of log(old / new)
    for (size_t i = 0; i < count; ++i) {
      if (!sequence.chosen[i]) continue;
      ++facts.tokens;
      logprobs[i] = PolicyLogprob(kernels, logits[sequence.first_row + static_cast<int64_t>(i)], sequence.tokens[i],
                                  options.temperature, KeptAt(sequence.kept, i));
      const double behind = static_cast<double>(sequence.old_logprobs[i]) - static_cast<double>(logprobs[i]);
      drift += behind;
      facts.mean_ratio_log += std::fabs(behind);
      facts.max_ratio_log = std::max(facts.max_ratio_log, std::fabs(behind));
    }
    if (facts.tokens == 0) return;
    const double tokens = static_cast<double>(facts.tokens);
    const bool masked =
        options.sequence_mask && sequence.advantage < 0 && drift / tokens > static_cast<double>(options.delta);
    facts.masked_sequences = masked;
    const double weight = static_cast<double>(sequence.weight) / tokens;
    for (size_t i = 0; i < count; ++i) {
      if (!sequence.chosen[i]) continue;
      const int64_t row = sequence.first_row + static_cast<int64_t>(i);
      const double ref = sequence.ref_logprobs.empty() ? 0 : static_cast<double>(sequence.ref_logprobs[i]);
      const TokenTerm term = TermOf(static_cast<double>(logprobs[i]), static_cast<double>(sequence.old_logprobs[i]),
                                    ref, static_cast<double>(sequence.advantage), masked, options);
      facts.loss -= weight * term.objective;
      facts.kl += term.kl / tokens;
      facts.clipped_tokens += term.clipped;
      if (term.slope == 0) continue;
      has_loss[static_cast<size_t>(row)] = 1;
      LogprobGradient(kernels, logits[row], sequence.tokens[i], options.temperature, KeptAt(sequence.kept, i),
                      static_cast<float>(weight * term.slope));
    }
  });
  pool.ForRanges(logits.dim(0), 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      if (!has_loss[static_cast<size_t>(r)]) std::ranges::fill(logits[r], 0.0f);
  });
  GrpoFacts sum;
  for (const GrpoFacts& part : parts) {  // in order, whatever the threads did
    sum.loss += part.loss, sum.kl += part.kl, sum.mean_ratio_log += part.mean_ratio_log;
    sum.max_ratio_log = std::max(sum.max_ratio_log, part.max_ratio_log);
    sum.tokens += part.tokens, sum.clipped_tokens += part.clipped_tokens;
    sum.sequences += part.sequences, sum.masked_sequences += part.masked_sequences;
  }
  if (sum.sequences > 0) sum.kl /= static_cast<double>(sum.sequences);
  if (sum.tokens > 0) sum.mean_ratio_log /= static_cast<double>(sum.tokens);
  return sum;
}

}  // namespace minke
