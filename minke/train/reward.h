// What an answer is worth (V3.2 report 3: rule-based outcome, length penalty, language consistency; docs/training.md).
#pragma once

#include <string>
#include <string_view>

#include "minke/train/judge.h"
#include "minke/train/rollout.h"
#include "minke/train/task.h"

namespace minke {

struct RewardOptions {
  double outcome = 1;         // of a right answer
  double length_penalty = 0;  // off for every 100 thinking tokens
  double format = 0;          // of an answer that is written as the task wants it
  double distinct = 0;        // times the share of attempts that are distinct
  double language = 0;        // times LanguageShare of the reasoning
  std::string language_code = "en";
  JudgeOptions judge = {};  // not in RewardOf: episode.cc asks it for all answers of a step at once
};

// The share of the words of `text` that are of the language, by their letters: "en" Latin, "zh" Han; 1 without words.
double LanguageShare(std::string_view text, std::string_view language_code);

double RewardOf(const Verdict& verdict, const Rollout& rollout, const RewardOptions& options);

}  // namespace minke
