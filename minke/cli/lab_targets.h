// What a full run of the lab is meant to reach, in numbers: each with what was measured, and whether it holds.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/json.h"

namespace minke {

// results[a][b]...; nothing where a key is missing or the value is no number.
std::optional<double> NumberAt(const Json& results, std::initializer_list<std::string_view> path);

// Whether the accuracy of `arm` rises, not merely does not fall, at each step of the budgets 48, 96, 192, 384. Nothing
// unless all four were asked.
std::optional<bool> RisesWithBudget(const Json& results, const std::string& arm);

// Adds to results, from its accuracies and thinking tokens (docs/lab.md has the keys): "monotone", "rl_gain_points",
// "speciale_over_standard_points", "speciale_think_ratio". What was not measured is null.
void AddComparisons(Json& results);

struct LabTarget {
  std::string key;                   // in results.json, below "targets"
  std::string wanted, measured;      // as sentences
  std::optional<double> value = {};  // the number that is compared, in the unit of `wanted`
  std::optional<bool> holds = {};    // nothing: not measured

  Json ToJson() const;
};

// All of them, in order, from the keys of results.json, those of AddComparisons among them.
std::vector<LabTarget> JudgeLabTargets(const Json& results);

// Whether the target of that key was measured and holds.
bool LabTargetHolds(const Json& results, std::string_view key);

}  // namespace minke
