#include "minke/cli/lab_claims.h"

#include <gtest/gtest.h>

#include "minke/cli/lab_cost.h"

namespace minke {
namespace {

LabVerdict VerdictOf(const Json& results, int number) {
  return JudgeLabClaims(results)[static_cast<size_t>(number - 1)].verdict;
}

TEST(LabClaims, NothingMeasured) {
  const auto claims = JudgeLabClaims(Json::object());
  ASSERT_EQ(claims.size(), 8u);
  for (const LabClaim& claim : claims) {
    EXPECT_EQ(claim.verdict, LabVerdict::kNotMeasured) << claim.number;
    EXPECT_FALSE(claim.rule.empty());
    EXPECT_FALSE(claim.scale.empty());
  }
}

TEST(LabClaims, CostNeedsBothPhases) {
  const auto with = [](double prefill, double decode) {
    return Json{{"cost",
                 {{"saving",
                   {{"prefill", {{"share", prefill}, {"position", 131072}}},
                    {"decode", {{"share", decode}, {"position", 131072}}}}}}}};
  };
  EXPECT_EQ(VerdictOf(with(0.8, 0.76), 1), LabVerdict::kHolds);
  EXPECT_EQ(VerdictOf(with(0.8, 0.6), 1), LabVerdict::kPartly);
  EXPECT_EQ(VerdictOf(with(0.4, 0.9), 1), LabVerdict::kFails);
}

TEST(LabClaims, QualityNeedsTheLookup) {
  Json results = {{"dense_accuracy", 0.40}, {"sparse_accuracy", 0.39}, {"dense_loss", 1.0}, {"sparse_loss", 1.005}};
  EXPECT_EQ(VerdictOf(results, 2), LabVerdict::kPartly);
  results["lookup"] = {{"indexer", 0.97}, {"random", 0.2}, {"window", 0.1}};
  EXPECT_EQ(VerdictOf(results, 2), LabVerdict::kHolds);
  results["lookup"]["window"] = 0.9;
  EXPECT_EQ(VerdictOf(results, 2), LabVerdict::kPartly);
  results["sparse_accuracy"] = 0.37;
  EXPECT_EQ(VerdictOf(results, 2), LabVerdict::kFails);
}

TEST(LabClaims, RelaxingNeedsGainLengthAndOrder) {
  const auto of = [](double mean) { return Json{{"mean", mean}, {"standard_error", 0.01}}; };
  Json results;
  results["accuracy"]["standard"]["384"] = of(0.6);
  results["accuracy"]["speciale"] = {{"48", of(0.3)}, {"96", of(0.5)}, {"192", of(0.6)}, {"384", of(0.66)}};
  results["accuracy"]["sft"] = {{"48", of(0.2)}, {"96", of(0.3)}, {"192", of(0.4)}, {"384", of(0.4)}};
  results["think_tokens"]["standard"]["384"]["mean"] = 60;
  results["think_tokens"]["speciale"]["384"]["mean"] = 120;
  EXPECT_EQ(VerdictOf(results, 4), LabVerdict::kHolds);
  const auto but = [&](const std::string& arm, const std::string& budget, double mean) {
    Json other = results;
    other["accuracy"][arm][budget] = of(mean);
    return VerdictOf(other, 4);
  };
  EXPECT_EQ(but("speciale", "48", 0.55), LabVerdict::kPartly);  // falls to 96
  EXPECT_EQ(but("speciale", "192", 0.5), LabVerdict::kPartly);  // does not fall, and does not rise
  EXPECT_EQ(but("sft", "384", 0.45), LabVerdict::kPartly);      // the start rises as well
  Json three = results;
  three["accuracy"]["speciale"].erase("192");
  EXPECT_EQ(VerdictOf(three, 4), LabVerdict::kPartly);  // asked at three budgets
  EXPECT_EQ(but("speciale", "384", 0.61), LabVerdict::kFails);
}

TEST(LabClaims, PricesAreThoseOfTheArticles) {
  const Json prices = PriceTable();
  EXPECT_NEAR(prices["rows"][1]["times"].get<double>(), 23.8, 0.05);
  EXPECT_NEAR(prices["rows"][2]["times"].get<double>(), 28.6, 0.05);
  EXPECT_NEAR(prices["rows"][3]["times"].get<double>(), 42.9, 0.05);
  EXPECT_EQ(VerdictOf({{"prices", prices}}, 7), LabVerdict::kHolds);
}

TEST(LabClaims, HardwareNeedsTwoSetsThatAgree) {
  const auto with = [](bool second, double difference) {
    return Json{{"kernels",
                 {{{"name", "a"}, {"runs_here", true}, {"max_abs_diff", 0.0}},
                  {{"name", "b"}, {"runs_here", second}, {"max_abs_diff", difference}}}}};
  };
  EXPECT_EQ(VerdictOf(with(true, 1e-6), 8), LabVerdict::kHolds);
  EXPECT_EQ(VerdictOf(with(false, 0), 8), LabVerdict::kPartly);
  EXPECT_EQ(VerdictOf(with(true, 1), 8), LabVerdict::kFails);
}

}  // namespace
}  // namespace minke
