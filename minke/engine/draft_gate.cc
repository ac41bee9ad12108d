#include "minke/engine/draft_gate.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace minke {

int64_t DraftGate::IndexOf(int64_t sequences) {
  return std::clamp<int64_t>(std::bit_width(static_cast<uint64_t>(sequences)) - 1, 0, kCrowds - 1);
}

void DraftGate::Report(int64_t sequences, bool drafted, int64_t tokens, double seconds) {
  Crowd& crowd = crowds_[IndexOf(sequences)];
  if (drafted != crowd.drafting) return;
  crowd.window.Add(tokens, seconds);
  if (--crowd.steps_left > 0) return;
  const double cost = crowd.window.SecondsPerToken();
  crowd.window.Clear();
  if (!crowd.trial) {
    crowd.usual_cost = cost;
    crowd.trial = true;
    crowd.drafting = !crowd.drafting;
    crowd.steps_left = kTrialSteps;
    return;
  }
  crowd.trial = false;
  if (cost < crowd.usual_cost) {
    crowd.stay = kFirstStay;
  } else {
    crowd.drafting = !crowd.drafting;
    crowd.stay = std::min(2 * crowd.stay, kLongestStay);
  }
  crowd.steps_left = crowd.stay;
}

void DraftGate::Window::Add(int64_t tokens, double seconds) {
  const int64_t at = num_steps_++ % kSize;
  seconds_[at] = seconds;
  tokens_[at] = tokens;
}

double DraftGate::Window::SecondsPerToken() const {
  const int64_t count = std::min(num_steps_, kSize);
  std::array<double, kSize> sorted = seconds_;
  const auto middle = sorted.begin() + count / 2;
  std::nth_element(sorted.begin(), middle, sorted.begin() + count);
  const int64_t tokens = std::accumulate(tokens_.begin(), tokens_.begin() + count, int64_t{0});
  return *middle * static_cast<double>(count) / static_cast<double>(std::max<int64_t>(tokens, 1));
}

}  // namespace minke
