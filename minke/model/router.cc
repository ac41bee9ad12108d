#include "minke/model/router.h"

#include <algorithm>
#include <limits>

namespace minke {
namespace {

constexpr float kExcluded = -std::numeric_limits<float>::infinity();

// A value that can be compared and is not kExcluded: NaN and -inf count as lowest.
float Comparable(float value) {
  constexpr float kLowest = std::numeric_limits<float>::lowest();
  return value > kLowest ? value : kLowest;
}

// Index of the largest of `values` that is not excluded, the lowest on ties; excludes it. -1 when none is left.
int64_t TakeLargest(std::span<float> values) {
  int64_t best = -1;
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i] != kExcluded && (best < 0 || values[i] > values[static_cast<size_t>(best)]))
      best = static_cast<int64_t>(i);
  if (best >= 0) values[static_cast<size_t>(best)] = kExcluded;
  return best;
}

float LargestOf(std::span<const float> values) { return *std::max_element(values.begin(), values.end()); }

float SumOfTwoLargest(std::span<const float> values) {
  float first = kExcluded, second = kExcluded;
  for (float value : values) {
    if (value > first) {
      second = first;
      first = value;
    } else if (value > second) {
      second = value;
    }
  }
  return second == kExcluded ? first : first + second;
}

// Leaves only the experts of the topk_group best groups in `choice`; groups are contiguous.
void KeepBestGroups(const ModelConfig& c, std::span<float> choice) {
  float values[kMaxExpertGroups];
  const size_t groups = static_cast<size_t>(c.n_group), width = choice.size() / groups;
  for (size_t g = 0; g < groups; ++g) {
    const auto members = choice.subspan(g * width, width);
    values[g] = Comparable(c.topk_method == TopkMethod::kNoauxTc ? SumOfTwoLargest(members) : LargestOf(members));
  }
  bool keep[kMaxExpertGroups] = {};
  for (int64_t i = 0; i < c.topk_group; ++i)
    if (const int64_t g = TakeLargest({values, groups}); g >= 0) keep[g] = true;
  for (size_t g = 0; g < groups; ++g)
    if (!keep[g]) std::ranges::fill(choice.subspan(g * width, width), kExcluded);
}

}  // namespace

void ScoreExperts(const ModelConfig& c, const KernelSet& kernels, std::span<float> scores) {
  const int64_t n = static_cast<int64_t>(scores.size());
  if (c.scoring_func == RouterScore::kSigmoid) {
    kernels.sigmoid(scores.data(), n);
  } else {
    kernels.softmax(scores.data(), n);
  }
}

void WeighExperts(const ModelConfig& c, std::span<const float> scores, std::span<const int32_t> experts,
                  std::span<float> weights) {
  float sum = 0;
  for (size_t i = 0; i < experts.size(); ++i) {
    weights[i] = scores[static_cast<size_t>(experts[i])];
    sum += weights[i];
  }
  // DeepSeek-V2 never renormalises: config.cc refuses norm_topk_prob there. 1e-20 as in transformers.
  const float scale = c.norm_topk_prob ? c.routed_scaling_factor / (sum + 1e-20f) : c.routed_scaling_factor;
  for (float& weight : weights) weight *= scale;
}

void Route(const ModelConfig& c, const KernelSet& kernels, std::span<float> scores, std::span<const float> bias,
           std::span<float> scratch, std::span<int32_t> experts, std::span<float> weights) {
  ScoreExperts(c, kernels, scores);
  // The bias takes part in the choice only; the weight is the plain score.
  const std::span<float> choice = scratch.first(scores.size());
  for (size_t e = 0; e < scores.size(); ++e) choice[e] = Comparable(bias.empty() ? scores[e] : scores[e] + bias[e]);
  if (c.topk_method != TopkMethod::kGreedy && c.n_group > 1) KeepBestGroups(c, choice);

  for (int32_t& expert : experts) expert = static_cast<int32_t>(TakeLargest(choice));
  std::ranges::sort(experts);
  WeighExperts(c, scores, experts, weights);
}

}  // namespace minke
