#include "minke/cli/score_record.h"

#include <gtest/gtest.h>

#include <cstring>

namespace minke {
namespace {

std::vector<int32_t> Values(const TensorToWrite& tensor) {
  std::vector<int32_t> values(tensor.bytes.size() / 4);
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

TEST(ScoreRecord, NamesAreThoseOfTheGoldenCases) {
  ScoreRecord record({1}, 2);
  const float zero[1] = {0};
  const int32_t one[1] = {0};
  const TensorView<const float, 2> floats(zero, {1, 1});
  const TensorView<const int32_t, 2> ints(one, {1, 1});
  record.Begin({{0, 0, 1}}, false);
  record.Floats("hidden.embed", 0, floats);
  record.Floats("hidden", 1, floats);
  record.Floats("hidden.normed", 0, floats);
  record.Ints("topk", 0, ints);
  record.Ints("experts", 1, ints);
  record.Floats("expert_weights", 1, floats);
  record.Logits(floats);
  std::string names;
  const std::vector<std::string> suffixes = {".0"};
  for (const TensorToWrite& tensor : record.Tensors(suffixes)) names += tensor.name + " ";
  EXPECT_EQ(names, "expert_weights.1.0 experts.1.0 hidden.1.0 hidden.embed.0 hidden.normed.0 logits.0 topk.0.0 ");
}

TEST(ScoreRecord, OfTheMtpLayerOnlyLogitsAndSelectionStay) {
  ScoreRecord record({2}, 2);
  const float value[1] = {3};
  const int32_t set[2] = {0, -1};
  record.Begin({{0, 0, 1}}, true);
  record.Ints("topk", 2, {set, {1, 2}});
  record.Ints("experts", 2, {set, {1, 2}});
  record.Logits({value, {1, 1}});
  const std::vector<std::string> suffixes = {""};
  const auto tensors = record.Tensors(suffixes);
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_EQ(tensors[0].name, "mtp.logits");
  EXPECT_EQ(tensors[1].name, "mtp.topk");
  EXPECT_EQ(tensors[1].shape, (std::vector<int64_t>{1, 1}));  // one row less than tokens, and no spare columns
}

TEST(ScoreRecord, ChunksOfSeveralPromptsLandInTheirRows) {
  ScoreRecord record({3, 2}, 1);
  const int32_t first[] = {10, -1, -1, -1, 20, -1, -1, -1};  // one row of each prompt
  const int32_t second[] = {11, 12, -1, -1, 13, 14, 15, -1, 21, 22, -1, -1};
  record.Begin({{0, 0, 1}, {1, 0, 1}}, false);
  record.Ints("topk", 0, {first, {2, 4}});
  record.Begin({{0, 1, 2}, {1, 1, 1}}, false);
  record.Ints("topk", 0, {second, {3, 4}});
  const std::vector<std::string> suffixes = {".0", ".1"};
  const auto tensors = record.Tensors(suffixes);
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_EQ(tensors[0].name, "topk.0.0");
  EXPECT_EQ(Values(tensors[0]), (std::vector<int32_t>{10, -1, -1, 11, 12, -1, 13, 14, 15}));
  EXPECT_EQ(Values(tensors[1]), (std::vector<int32_t>{20, -1, 21, 22}));
}

}  // namespace
}  // namespace minke
