// Whether drafts pay, learned from how long steps take. Without clocks: the worker hands durations in. Because answers
// have the same bytes with and without drafts, time alone may decide.
//
// What pays for one sequence may not pay in a crowd, where a step has work enough for every core, so crowds of 1, 2-3,
// 4-7, 8-15, ... sequences are judged apart. Each begins with drafts, and now and then spends a few steps the other
// way: what gives more tokens a second goes on. While the answer stays the same, such trials become rarer.
#pragma once

#include <array>
#include <cstdint>

namespace minke {

class DraftGate {
 public:
  static constexpr int64_t kTrialSteps = 8;      // the other way
  static constexpr int64_t kFirstStay = 64;      // steps before the first trial, and after a change
  static constexpr int64_t kLongestStay = 2048;  // trials then cost less than half a percent of the steps

  // Whether steps of this many decoding sequences shall draft.
  bool IsOpen(int64_t sequences) const { return crowds_[IndexOf(sequences)].drafting; }
  // A step in which nothing else ran brought `tokens` in `seconds`. `drafted`: it ran drafts; steps that did so against
  // the gate's will, as the first after a change must, are not counted.
  void Report(int64_t sequences, bool drafted, int64_t tokens, double seconds);

 private:
  // The last steps of one kind. The median of their times: an interruption by another process is no property of drafts.
  class Window {
   public:
    void Add(int64_t tokens, double seconds);
    double SecondsPerToken() const;
    void Clear() { num_steps_ = 0; }

   private:
    static constexpr int64_t kSize = 32;
    std::array<double, kSize> seconds_;
    std::array<int64_t, kSize> tokens_;
    int64_t num_steps_ = 0;
  };
  struct Crowd {
    bool drafting = true;
    bool trial = false;
    int64_t stay = kFirstStay;
    int64_t steps_left = kFirstStay;  // before the next change
    double usual_cost = 0;            // seconds per token before the trial
    Window window;
  };
  static constexpr int64_t kCrowds = 16;
  static int64_t IndexOf(int64_t sequences);

  std::array<Crowd, kCrowds> crowds_;
};

}  // namespace minke
