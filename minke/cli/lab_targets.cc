#include "minke/cli/lab_targets.h"

#include <fmt/format.h>

#include <algorithm>

#include "minke/cli/lab_results.h"

namespace minke {
namespace {

constexpr const char* kArms[] = {"standard", "mild", "speciale"};
constexpr const char* kBudget = "384";  // where arms are compared
constexpr double kRounding = 1e-9;      // 35 % - 30 % are 5 points

// Of arm over other at kBudget, in points, seed by seed; null unless both were asked.
Json PointsOver(const Json& results, const std::string& arm, const std::string& other) {
  if (!NumberAt(results, {"accuracy", arm, kBudget, "mean"}) ||
      !NumberAt(results, {"accuracy", other, kBudget, "mean"}))
    return {};
  const Json& after = results["accuracy"][arm][kBudget]["seeds"];
  const Json& before = results["accuracy"][other][kBudget]["seeds"];
  std::vector<double> points;
  for (size_t i = 0; i < std::min(after.size(), before.size()); ++i)
    points.push_back(100 * (after[i].get<double>() - before[i].get<double>()));
  return MeanOf(points);
}

// "+12.3 (spread over 3 seeds 1.2)" of {"mean", "spread", "seeds"}.
std::string Points(const Json& entry) {
  std::string text = fmt::format("{:+.1f}", entry["mean"].get<double>());
  if (entry["spread"].is_number())
    text += fmt::format(" (spread over {} seeds {:.1f})", entry["seeds"].size(), entry["spread"].get<double>());
  else
    text += " (one seed)";
  return text;
}

LabTarget Gain(const Json& results) {
  LabTarget t{"rl_gain", fmt::format("an RL arm at least 15 points over the start at budget {}", kBudget), ""};
  for (const char* arm : kArms) {
    const auto mean = NumberAt(results, {"rl_gain_points", arm, "mean"});
    if (!mean) continue;
    t.measured += fmt::format("{}{} {}", t.measured.empty() ? "" : ", ", arm, Points(results["rl_gain_points"][arm]));
    t.value = std::max(t.value.value_or(*mean), *mean);
  }
  if (t.value) t.holds = *t.value >= 15 - kRounding;
  return t;
}

LabTarget Speciale(const Json& results) {
  LabTarget t{"speciale_gain", fmt::format("speciale at least 5 points over standard at budget {}", kBudget), ""};
  t.value = NumberAt(results, {"speciale_over_standard_points", "mean"});
  if (!t.value) return t;
  t.measured = Points(results["speciale_over_standard_points"]);
  t.holds = *t.value >= 5 - kRounding;
  return t;
}

LabTarget Thinking(const Json& results) {
  LabTarget t{"think_ratio", "speciale with at least 1.5 times standard's thinking tokens there", ""};
  t.value = NumberAt(results, {"speciale_think_ratio"});
  if (!t.value) return t;
  t.measured = fmt::format("{:.2f} times", *t.value);
  t.holds = *t.value >= 1.5 - kRounding;
  return t;
}

LabTarget Monotone(const Json& results) {
  LabTarget t{"monotone", "accuracy rises at each of 48, 96, 192 and 384 tokens after RL (speciale), and not before",
              ""};
  const auto before = RisesWithBudget(results, "sft"), after = RisesWithBudget(results, "speciale");
  if (!before || !after) return t;
  const auto words = [](bool rises) { return rises ? "rises" : "does not always rise"; };
  t.measured = fmt::format("speciale {}, the start {}", words(*after), words(*before));
  t.holds = *after && !*before;
  return t;
}

LabTarget Parity(const Json& results) {
  LabTarget t{"sparse_parity", "sparse accuracy at most 2 points under the dense control's, which solves at least 10 %",
              ""};
  const auto dense = NumberAt(results, {"dense_accuracy"}), sparse = NumberAt(results, {"sparse_accuracy"});
  if (!dense || !sparse) return t;
  t.value = 100 * (*sparse - *dense);
  t.measured = fmt::format("{:+.1f} points, the control {:.1f} %", *t.value, 100 * *dense);
  t.holds = *t.value >= -2 - kRounding && *dense >= 0.1 - kRounding;  // two that can do nothing are equal
  return t;
}

LabTarget Lookup(const Json& results) {
  LabTarget t{"lookup",
              "the lookup task solved to 95 % with the trained indexer, 10 points or more over random and window", ""};
  const auto random = NumberAt(results, {"lookup", "random"}), window = NumberAt(results, {"lookup", "window"});
  const auto indexer = NumberAt(results, {"lookup", "indexer"});
  if (!indexer || !random || !window) return t;
  t.value = 100 * *indexer;
  t.measured =
      fmt::format("indexer {:.1f} %, random {:.1f} %, window {:.1f} %", *t.value, 100 * *random, 100 * *window);
  t.holds = *indexer >= 0.95 - kRounding && std::max(*random, *window) <= *indexer - 0.1 + kRounding;
  return t;
}

LabTarget OnPolicy(const Json& results) {
  LabTarget t{"on_policy", "rollout and learner differ by 0 in every log-probability, in all RL runs", ""};
  if (!results.contains("rl") && !results.contains("mixed")) return t;
  t.value = NumberAt(results, {"on_policy_max_abs_diff"});
  if (!t.value) return t;
  t.measured = fmt::format("largest difference {}", *t.value);
  t.holds = *t.value == 0;
  return t;
}

}  // namespace

std::optional<double> NumberAt(const Json& results, std::initializer_list<std::string_view> path) {
  const Json* at = &results;
  for (const std::string_view key : path) {
    if (!at->is_object() || !at->contains(key)) return {};
    at = &at->at(std::string(key));
  }
  if (!at->is_number()) return {};
  return at->get<double>();
}

std::optional<bool> RisesWithBudget(const Json& results, const std::string& arm) {
  bool rises = true;
  double last = -1;
  for (const std::string budget : {"48", "96", "192", "384"}) {
    const auto mean = NumberAt(results, {"accuracy", arm, budget, "mean"});
    if (!mean) return {};
    rises = rises && *mean > last, last = *mean;
  }
  return rises;
}

void AddComparisons(Json& results) {
  const auto rises = [&](const std::string& arm) {
    const auto known = RisesWithBudget(results, arm);
    return known ? Json(*known) : Json();
  };
  Json monotone = {{"sft", rises("sft")}}, gain = Json::object();
  for (const std::string arm : kArms) monotone[arm] = rises(arm), gain[arm] = PointsOver(results, arm, "sft");
  const Json over = PointsOver(results, "speciale", "standard");
  const auto standard = NumberAt(results, {"think_tokens", "standard", kBudget, "mean"});
  const auto speciale = NumberAt(results, {"think_tokens", "speciale", kBudget, "mean"});
  results["monotone"] = monotone;
  results["rl_gain_points"] = gain;
  results["speciale_over_standard_points"] = over;
  results["speciale_think_ratio"] = standard && speciale && *standard > 0 ? Json(*speciale / *standard) : Json();
}

Json LabTarget::ToJson() const {
  return {{"wanted", wanted},
          {"measured", measured},
          {"value", value ? Json(*value) : Json()},
          {"holds", holds ? Json(*holds) : Json()}};
}

std::vector<LabTarget> JudgeLabTargets(const Json& results) {
  return {Gain(results),   Speciale(results), Thinking(results), Monotone(results),
          Parity(results), Lookup(results),   OnPolicy(results)};
}

bool LabTargetHolds(const Json& results, std::string_view key) {
  const std::vector<LabTarget> targets = JudgeLabTargets(results);
  const auto found = std::ranges::find(targets, key, &LabTarget::key);
  return found != targets.end() && found->holds.value_or(false);
}

}  // namespace minke
