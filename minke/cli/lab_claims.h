// The claims of December 2025 against what was measured here (docs/training.md), judged by stated rules.
#pragma once

#include <string>
#include <vector>

#include "minke/base/json.h"

namespace minke {

enum class LabVerdict { kHolds, kPartly, kFails, kNotMeasured };
const char* Name(LabVerdict verdict);  // "holds", "holds in part", "does not hold here", "not measured"

struct LabClaim {
  int number = 0;
  std::string claim, rule, measured, scale;  // scale: why ours may matter
  LabVerdict verdict = LabVerdict::kNotMeasured;

  Json ToJson() const;
};

// All eight, in order, from the keys of results.json. What is missing there is not measured.
std::vector<LabClaim> JudgeLabClaims(const Json& results);

}  // namespace minke
