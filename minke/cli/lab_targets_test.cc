#include "minke/cli/lab_targets.h"

#include <gtest/gtest.h>

#include <map>

#include "minke/cli/lab_results.h"

namespace minke {
namespace {

// Accuracies of three seeds around `mean`, at 48, 96, 192 and 384 tokens.
Json Curve(const std::vector<double>& means) {
  Json curve;
  for (size_t i = 0; i < means.size(); ++i) {
    const double seeds[] = {means[i] - 0.01, means[i], means[i] + 0.01};
    curve[std::to_string(48 << i)] = MeanOf(seeds);
  }
  return curve;
}

Json Reached() {
  Json results = {
      {"dense_accuracy", 0.5}, {"sparse_accuracy", 0.48}, {"rl", {{"speciale", 1}}}, {"on_policy_max_abs_diff", 0.0}};
  results["accuracy"] = {{"sft", Curve({0.2, 0.3, 0.3, 0.35})},
                         {"standard", Curve({0.5, 0.6, 0.6, 0.6})},
                         {"speciale", Curve({0.3, 0.4, 0.5, 0.65})}};
  results["think_tokens"]["standard"]["384"]["mean"] = 60;
  results["think_tokens"]["speciale"]["384"]["mean"] = 90;
  results["lookup"] = {{"indexer", 0.95}, {"random", 0.85}, {"window", 0.1}};
  return results;
}

std::map<std::string, LabTarget> Targets(Json results) {
  AddComparisons(results);
  std::map<std::string, LabTarget> targets;
  for (const LabTarget& target : JudgeLabTargets(results)) targets[target.key] = target;
  return targets;
}

TEST(LabTargets, ComparisonsBySeed) {
  Json results = Reached();
  results["accuracy"]["sft"]["384"] = MeanOf(std::vector<double>{0.35, 0.35, 0.35});
  AddComparisons(results);
  EXPECT_EQ(results["monotone"], (Json{{"sft", false}, {"standard", false}, {"mild", nullptr}, {"speciale", true}}));
  EXPECT_NEAR(results["rl_gain_points"]["speciale"]["mean"].get<double>(), 30, 1e-9);
  EXPECT_NEAR(results["rl_gain_points"]["speciale"]["spread"].get<double>(), 1, 1e-9);
  EXPECT_TRUE(results["rl_gain_points"]["mild"].is_null());
  EXPECT_NEAR(results["speciale_over_standard_points"]["mean"].get<double>(), 5, 1e-9);
  EXPECT_NEAR(results["speciale_over_standard_points"]["spread"].get<double>(), 0, 1e-9);
  EXPECT_EQ(results["speciale_think_ratio"], 1.5);
}

TEST(LabTargets, HoldAtTheirLimits) {
  for (const auto& [key, target] : Targets(Reached())) {
    EXPECT_TRUE(target.holds.value_or(false)) << key << ": " << target.measured;
    EXPECT_FALSE(target.measured.empty()) << key;
  }
}

TEST(LabTargets, EachFailsAlone) {
  const auto fails = [](const std::string& key, auto&& change) {
    Json results = Reached();
    change(results);
    for (const auto& [name, target] : Targets(results)) EXPECT_EQ(target.holds, name != key) << key << ": " << name;
  };
  fails("rl_gain", [](Json& r) { r["accuracy"]["sft"] = Curve({0.55, 0.54, 0.54, 0.54}); });
  fails("speciale_gain", [](Json& r) { r["accuracy"]["standard"] = Curve({0.5, 0.6, 0.6, 0.61}); });
  fails("think_ratio", [](Json& r) { r["think_tokens"]["speciale"]["384"]["mean"] = 89; });
  fails("monotone", [](Json& r) { r["accuracy"]["speciale"]["192"] = r["accuracy"]["speciale"]["96"]; });
  fails("monotone", [](Json& r) { r["accuracy"]["sft"] = Curve({0.1, 0.2, 0.3, 0.4}); });
  fails("sparse_parity", [](Json& r) { r["sparse_accuracy"] = 0.47; });
  fails("sparse_parity", [](Json& r) { r["dense_accuracy"] = r["sparse_accuracy"] = 0.05; });
  fails("lookup", [](Json& r) { r["lookup"]["indexer"] = 0.949; });
  fails("lookup", [](Json& r) { r["lookup"]["window"] = 0.9; });
  fails("on_policy", [](Json& r) { r["on_policy_max_abs_diff"] = 1e-7; });
}

TEST(LabTargets, WhatIsMissingIsNotMeasured) {
  for (const auto& [key, target] : Targets(Json::object())) EXPECT_FALSE(target.holds) << key;
  Json results = Reached();
  results["accuracy"]["speciale"].erase("192");
  EXPECT_FALSE(Targets(results)["monotone"].holds);
  EXPECT_TRUE(Targets(results)["monotone"].ToJson()["holds"].is_null());
}

}  // namespace
}  // namespace minke
