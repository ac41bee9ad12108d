#include "minke/cli/lab_results.h"

#include <gtest/gtest.h>

#include "minke/cli/lab_report.h"

namespace minke {
namespace {

TEST(LabResults, MeanAndSpread) {
  const double values[] = {1, 2, 6};
  const Json json = MeanOf(values);
  EXPECT_EQ(json["mean"], 3.0);
  EXPECT_NEAR(json["spread"].get<double>(), 2.6458, 1e-4);
  EXPECT_EQ(json["seeds"].size(), 3u);
  EXPECT_TRUE(MeanOf(std::span(values).first(1))["spread"].is_null());
  EXPECT_TRUE(MeanOf({}).is_null());
}

LabSetup TwoSeeds() {
  LabSetup setup;
  setup.recipe = QuickLabRecipe();
  setup.recipe.arms = {{"standard", 0.3, 96, 2}};
  setup.recipe.eval.budgets = {96};
  setup.recipe.eval.problems = 100;
  setup.seeds = 2;
  setup.parts = {"rl", "budget"};
  return setup;
}

std::map<std::string, LabResult> JobsOf(double first, double second) {
  std::map<std::string, LabResult> jobs;
  const auto answers = [](double accuracy) {
    return LabResult{{{"96",
                       {{"accuracy", accuracy},
                        {"output_tokens", 50},
                        {"think_tokens", 40},
                        {"within", {{"2", 0.1}}},
                        {"cpu_seconds", 2}}}},
                     1,
                     false};
  };
  const auto run = [](double difference) {
    return LabResult{{{"cpu_seconds", 8},
                      {"on_policy_max_abs_diff", difference},
                      {"curve", {{"accuracy", {0.1, 0.3}}, {"think_tokens", {10, 20}}, {"cpu_seconds", {4, 8}}}}},
                     1,
                     false};
  };
  jobs["eval-sft-1"] = answers(0.2), jobs["eval-sft-2"] = answers(0.2);
  jobs["eval-standard-1"] = answers(first), jobs["eval-standard-2"] = answers(second);
  jobs["rl-standard-1"] = run(0), jobs["rl-standard-2"] = run(0.25);
  return jobs;
}

TEST(LabResults, StableKeys) {
  const Json results = CollectLabResults(TwoSeeds(), JobsOf(0.4, 0.6));
  EXPECT_EQ(results["on_policy_max_abs_diff"], 0.25);
  EXPECT_NEAR(results["accuracy"]["standard"]["96"]["mean"].get<double>(), 0.5, 1e-12);
  EXPECT_NEAR(results["accuracy"]["standard"]["96"]["standard_error"].get<double>(), std::sqrt(0.25 / 200), 1e-12);
  EXPECT_NEAR(results["tokens_per_solved"]["standard"]["96"].get<double>(), 100, 1e-9);
  EXPECT_NEAR(results["cpu_seconds_per_solved"]["standard"]["96"].get<double>(), 2.0 / 50, 1e-9);
  EXPECT_NEAR(results["rl"]["standard"]["equal_cpu"]["accuracy"]["mean"].get<double>(), 0.2, 1e-12);
  EXPECT_EQ(results["claims"].size(), 8u);
  EXPECT_EQ(results["claims"]["1"]["verdict"], "not measured");
  EXPECT_EQ(results["targets"]["on_policy"]["holds"], false);
  EXPECT_TRUE(results["monotone"]["sft"].is_null());  // one budget
  EXPECT_TRUE(results["rl_gain_points"].contains("standard"));
}

TEST(LabReport, IsAPageWithWhatIsThere) {
  const std::string page = LabReport(CollectLabResults(TwoSeeds(), JobsOf(0.4, 0.6)), "minke lab <x>");
  EXPECT_NE(page.find("minke lab &lt;x&gt;"), std::string::npos);
  EXPECT_NE(page.find("50.0 ± 3.5"), std::string::npos);
  EXPECT_NE(page.find("<svg"), std::string::npos);
  EXPECT_EQ(page.find("(f)"), std::string::npos);  // not run
  EXPECT_NE(page.find("It does not hold: largest difference 0.25."), std::string::npos);
  EXPECT_NE(page.find("Wanted: speciale at least 5 points over standard at budget 384. Not measured."), page.npos);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("src="), std::string::npos);
}

}  // namespace
}  // namespace minke
