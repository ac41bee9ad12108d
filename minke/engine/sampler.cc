#include "minke/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "minke/base/check.h"
#include "minke/base/rng.h"

namespace minke {
namespace {

// One broken row must fail one request, not steer it: NaN would silently win or lose comparisons.
Status CheckLogits(std::span<const float> logits) {
  float largest = -std::numeric_limits<float>::infinity();
  bool ordered = true;
  for (float l : logits) {
    ordered &= l == l;
    largest = l > largest ? l : largest;
  }
  if (!ordered) return Fail(Code::kFailed, "the model's logits hold NaN");
  if (!std::isfinite(largest)) return Fail(Code::kFailed, "the model's largest logit is {}", largest);
  return {};
}

}  // namespace

Sampler::Sampler(const KernelSet& kernels, int64_t vocab_size)
    : kernels_(kernels), adjusted_(vocab_size), probabilities_(vocab_size), selected_(vocab_size) {
  candidates_.reserve(vocab_size);
}

Result<TokenId> Sampler::Choose(std::span<const float> logits, const SamplingParams& params,
                                const TokenHistory& history, uint64_t seed, int64_t index) {
  MINKE_CHECK(logits.size() == adjusted_.size());
  MINKE_TRY(CheckLogits(logits));
  const std::span<const float> adjusted = Adjust(logits, params, history);
  if (params.temperature == 0) {
    return static_cast<TokenId>(kernels_.argmax(adjusted.data(), static_cast<int64_t>(adjusted.size())));
  }
  Filter(adjusted, params);
  return Pick(Philox(seed, params.stream).Uniform(static_cast<uint64_t>(index)));
}

Result<std::span<const TokenId>> Sampler::Kept(std::span<const float> logits, const SamplingParams& params) {
  MINKE_CHECK(logits.size() == adjusted_.size() && params.temperature > 0 && !params.has_penalties());
  MINKE_TRY(CheckLogits(logits));
  Filter(logits, params);
  kept_.clear();
  for (const Candidate& candidate : candidates_) kept_.push_back(candidate.token);
  return std::span<const TokenId>(kept_);
}

void Sampler::Filter(std::span<const float> logits, const SamplingParams& params) {
  KeepTopK(logits, params);
  Soften(logits, params.temperature);
  if (params.top_p < 1) KeepTopP(params.top_p);
  if (params.min_p > 0) KeepMinP(params.min_p);
}

Result<Sample> Sampler::Draw(std::span<const float> logits, const SamplingParams& params, const TokenHistory& history,
                             uint64_t seed, int64_t index) {
  Sample sample;
  MINKE_ASSIGN(sample.token, Choose(logits, params, history, seed, index));
  if (params.logprobs) {
    const float log_sum = kernels_.log_sum_exp(logits.data(), static_cast<int64_t>(logits.size()));
    sample.logprob = logits[sample.token] - log_sum;
    sample.top = Top(logits, log_sum, params.top_logprobs);
  }
  return sample;
}

std::span<const float> Sampler::Adjust(std::span<const float> logits, const SamplingParams& params,
                                       const TokenHistory& history) {
  if (!params.has_penalties() && params.logit_bias.empty()) return logits;
  std::copy(logits.begin(), logits.end(), adjusted_.begin());
  if (params.has_penalties()) {
    for (const TokenHistory::Entry& seen : history.entries()) {
      float& l = adjusted_[seen.token];
      l = l > 0 ? l / params.repetition_penalty : l * params.repetition_penalty;
      if (seen.output_count == 0) continue;
      l -= params.presence_penalty + params.frequency_penalty * static_cast<float>(seen.output_count);
    }
  }
  for (const LogitBias& entry : params.logit_bias) adjusted_[entry.token] += entry.bias;
  return adjusted_;
}

void Sampler::KeepTopK(std::span<const float> logits, const SamplingParams& params) {
  const int64_t vocab_size = static_cast<int64_t>(logits.size());
  if (params.top_k > 0 && params.top_k < vocab_size) {
    num_selected_ = kernels_.top_k(logits.data(), vocab_size, params.top_k, selected_.data());
  } else {
    num_selected_ = vocab_size;
    std::iota(selected_.begin(), selected_.end(), 0);
  }
}

// probabilities_[i] = softmax(l / temperature) over the selected, candidates_ = all of them.
void Sampler::Soften(std::span<const float> logits, float temperature) {
  float largest = logits[selected_[0]];
  for (int64_t i = 1; i < num_selected_; ++i) largest = std::max(largest, logits[selected_[i]]);
  // The maximum is taken off first, so that a tiny temperature cannot overflow; e^-1e4 is 0 in F32 anyway.
  for (int64_t i = 0; i < num_selected_; ++i) {
    probabilities_[i] = std::max((logits[selected_[i]] - largest) / temperature, -1e4f);
  }
  kernels_.softmax(probabilities_.data(), num_selected_);
  candidates_.clear();
  for (int64_t i = 0; i < num_selected_; ++i) candidates_.push_back({probabilities_[i], selected_[i]});
}

void Sampler::KeepTopP(float top_p) {
  double total = 0;
  for (const Candidate& c : candidates_) total += c.probability;
  const double target = top_p * total;
  // The tokens below (1 - top_p) / n of the total hold less than 1 - top_p together, so none of them is needed;
  // what is left is short for any real distribution, and a heap orders only as much of it as top_p takes.
  const double least = (1 - static_cast<double>(top_p)) * total / static_cast<double>(candidates_.size());
  std::erase_if(candidates_, [&](const Candidate& c) { return c.probability < least; });
  const auto less_likely = [](const Candidate& a, const Candidate& b) {
    return a.probability != b.probability ? a.probability < b.probability : a.token > b.token;
  };
  std::make_heap(candidates_.begin(), candidates_.end(), less_likely);
  double mass = 0;
  auto heap_end = candidates_.end();
  while (heap_end != candidates_.begin()) {
    std::pop_heap(candidates_.begin(), heap_end, less_likely);
    mass += (--heap_end)->probability;
    if (mass >= target) break;
  }
  candidates_.erase(candidates_.begin(), heap_end);  // popped ones gather at the end, most likely last
}

void Sampler::KeepMinP(float min_p) {
  float largest = 0;
  for (const Candidate& c : candidates_) largest = std::max(largest, c.probability);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.probability < min_p * largest; });
}

TokenId Sampler::Pick(double uniform) const {
  double total = 0;
  for (const Candidate& c : candidates_) total += c.probability;
  const double target = uniform * total;
  double mass = 0;
  TokenId last = candidates_.front().token;
  for (const Candidate& c : candidates_) {
    if (c.probability <= 0) continue;
    mass += c.probability;
    last = c.token;
    if (mass > target) break;  // uniform < 1, so the last one with any mass is reached at the latest
  }
  return last;
}

std::span<const TokenLogprob> Sampler::Top(std::span<const float> logits, float log_sum, int count) {
  const size_t most = std::min(static_cast<size_t>(count), logits.size());
  if (most == 0) return {};
  size_t size = 0;  // top_[0, size) is sorted; equal logits stay in order of id
  for (size_t id = 0; id < logits.size(); ++id) {
    const float l = logits[id];
    if (size == most && !(l > top_[size - 1].logprob)) continue;
    size_t at = size < most ? size++ : size - 1;
    for (; at > 0 && l > top_[at - 1].logprob; --at) top_[at] = top_[at - 1];
    top_[at] = {static_cast<TokenId>(id), l};
  }
  for (size_t i = 0; i < size; ++i) top_[i].logprob -= log_sum;
  return {top_.data(), size};
}

}  // namespace minke
