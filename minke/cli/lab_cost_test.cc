#include "minke/cli/lab_cost.h"

#include <gtest/gtest.h>

#include <set>

#include "minke/kernels/kernel_set.h"

namespace minke {
namespace {

TEST(LabCost, KeyHasAllThatTheCostDependsOn) {
  std::set<Json> keys;
  const auto add = [&](const LabCost& cost, const std::string& model = "", double usd = 0.1,
                       const std::string& isa = "reference", int threads = 1) {
    EXPECT_TRUE(keys.insert(LabCostKey(cost, model, usd, isa, threads)).second) << keys.size();
  };
  add({});
  add({}, "nano");
  add({}, "", 0.2);
  add({}, "", 0.1, "");  // the best of this machine
  add({}, "", 0.1, "reference", 2);
  for (int64_t LabCost::* member :
       {&LabCost::hidden, &LabCost::heads, &LabCost::q_lora_rank, &LabCost::kv_lora_rank, &LabCost::index_heads,
        &LabCost::index_topk, &LabCost::prompt_tokens, &LabCost::decode_tokens, &LabCost::repetitions}) {
    LabCost cost;
    cost.*member += 1;
    add(cost);
  }
  LabCost deeper;
  deeper.depths.push_back(200'000);
  add(deeper);
}

TEST(LabCost, KeyNamesTheKernelSetThatRuns) {
  const std::string best = (*ChooseKernelSet(""))->name;
  EXPECT_EQ(LabCostKey({}, "", 1, "", 1)["kernels"], best);
  EXPECT_EQ(LabCostKey({}, "", 1, "", 1), LabCostKey({}, "", 1, best, 1));
}

}  // namespace
}  // namespace minke
