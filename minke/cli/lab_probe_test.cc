#include "minke/cli/lab_probe.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace minke {
namespace {

class Probe : public testing::Test {
 protected:
  Probe()
      : probe_(std::move(*LabProbe::Open(MINKE_TEST_DATA "/nano-hf", "", 1))),
        task_(std::move(*FindTask("countdown"))) {}

  std::vector<Document> HeldOut(int64_t count) const { return *probe_->HeldOut(*task_, 3, count); }

  std::unique_ptr<LabProbe> probe_;
  std::unique_ptr<const Task> task_;
};

TEST_F(Probe, LossIsTheSameWhileAllIsSelected) {
  std::vector<Document> documents = HeldOut(3);
  const auto longer = probe_->Loss(documents, Attention::kDense);
  EXPECT_NE(*longer, *probe_->Loss(documents, Attention::kDsa));
  EXPECT_LT(*longer, 3);
  for (Document& document : documents) {
    document.tokens.resize(std::min<size_t>(document.tokens.size(), 32));
    document.loss.resize(document.tokens.size());
  }
  EXPECT_EQ(*probe_->Loss(documents, Attention::kDense), *probe_->Loss(documents, Attention::kDsa));
}

TEST_F(Probe, ATrainedIndexerCatchesMoreThanChance) {
  const auto recall = probe_->Recall(HeldOut(4));
  ASSERT_TRUE(recall) << recall.error().message;
  ASSERT_EQ((*recall)["by_layer"].size(), 4u);
  for (const Json& layer : (*recall)["by_layer"]) {
    EXPECT_GT(layer["mass"].get<double>(), layer["random"].get<double>());
    EXPECT_LE(layer["mass"].get<double>(), 1 + 1e-5);
    EXPECT_LE(layer["topk"].get<double>(), 1);
    EXPECT_GT(layer["queries"].get<int64_t>(), 0);
  }
}

// What the model itself writes is exact; one other token is not, and neither is another selection.
TEST_F(Probe, ExactIsWhatGreedyDecodingWrites) {
  Document document = HeldOut(1)[0];
  const auto first = std::ranges::find(document.loss, 1) - document.loss.begin();
  document.tokens.resize(static_cast<size_t>(first));
  document.loss.assign(static_cast<size_t>(first), 0);
  for (int i = 0; i < 40; ++i) {
    const std::vector<float> logits = *probe_->LastLogits(document);
    document.tokens.push_back(static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin()));
    document.loss.push_back(1);
  }
  EXPECT_EQ(*probe_->Exact({&document, 1}, LabSelection::kIndexer, 1), 1);
  EXPECT_EQ(*probe_->Exact({&document, 1}, LabSelection::kRandom, 1), 0);
  EXPECT_EQ(*probe_->Exact({&document, 1}, LabSelection::kWindow, 1), 0);
  document.tokens[document.tokens.size() - 1] ^= 1;
  EXPECT_EQ(*probe_->Exact({&document, 1}, LabSelection::kIndexer, 1), 0);
}

}  // namespace
}  // namespace minke
