#include "minke/cli/fit.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

TEST(Fit, NumbersForPeople) {
  EXPECT_EQ(BytesText(0), "0 bytes");
  EXPECT_EQ(BytesText(999), "999 bytes");
  EXPECT_EQ(BytesText(1000), "1.00 KB");
  EXPECT_EQ(BytesText(12'345'678), "12.3 MB");
  EXPECT_EQ(BytesText(999'600), "1.00 MB");
  EXPECT_EQ(BytesText(674'000'000'000), "674 GB");
  EXPECT_EQ(BytesText(int64_t{1} << 62), "4611686 TB");
  EXPECT_EQ(CountText(671'880'000'000), "672 G");
  EXPECT_EQ(CountText(192), "192");
}

TEST(Fit, CacheIsWholePagesOfAllLayers) {
  const auto model = Model::Open(MINKE_TEST_DATA "/nano-hf");
  ASSERT_TRUE(model) << model.error().message;
  const auto fit = MeasureFit(**model, 65, 2, {});
  ASSERT_TRUE(fit) << fit.error().message;
  // 5 layers with the MTP layer, 48 + 16 latent and 32 index numbers of 4 bytes, 128 tokens in two pages.
  EXPECT_EQ(fit->cache_bytes, 5 * (48 + 16 + 32) * 4 * 128);
  EXPECT_EQ(fit->weight_bytes, 4008288);
  EXPECT_EQ(fit->needed_bytes(), fit->weight_bytes + fit->owned_bytes + fit->cache_bytes + fit->scratch_bytes);
  EXPECT_TRUE(RequireFit(*fit, "nano"));
  EXPECT_EQ(MeasureFit(**model, 2049, 1, {}).error().code, Code::kInvalidArgument);
  EXPECT_TRUE(MeasureFit(**model, 2048, 1, {}));
  const auto rounded = MeasureFit(**model, 65, 2, {RowFormat::kBF16, RowFormat::kBF16});
  ASSERT_TRUE(rounded) << rounded.error().message;
  EXPECT_EQ(rounded->cache_bytes, fit->cache_bytes / 2);
}

TEST(Fit, WhatDoesNotFitIsSaidWithNumbers) {
  Fit fit{.context = 100,
          .weight_bytes = 700'000'000'000,
          .owned_bytes = 1,
          .cache_bytes = 2'000'000'000,
          .scratch_bytes = 1'000'000'000,
          .available_bytes = 64'000'000'000};
  const Status status = RequireFit(fit, "big");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kNoMemory);
  for (const char* part : {"big", "703 GB", "700 GB", "2.00 GB", "64.0 GB", "from disk"})
    EXPECT_NE(status.error().message.find(part), std::string::npos) << status.error().message;
  fit.available_bytes = 1'000'000'000;
  EXPECT_NE(RequireFit(fit, "big").error().message.find("shorter context"), std::string::npos);
  fit.available_bytes = fit.needed_bytes();
  EXPECT_TRUE(RequireFit(fit, "big"));
}

TEST(Fit, ALimitHoldsWhatStaysAndSomeExperts) {
  const auto model = Model::Open(MINKE_TEST_DATA "/nano-hf");
  ASSERT_TRUE(model) << model.error().message;
  auto fit = MeasureFit(**model, 64, 1, {}, 30'000'000);
  ASSERT_TRUE(fit) << fit.error().message;
  EXPECT_EQ(fit->experts.count, 4 * 8);  // three layers and the MTP layer
  EXPECT_EQ(fit->experts.largest, 3 * 88 * 128 * 2);
  EXPECT_EQ(fit->expert_slots(), 4 * 8);
  fit->memory_bytes = fit->resident_bytes() + 5 * fit->experts.largest + 1;
  EXPECT_EQ(fit->expert_slots(), 5);
  EXPECT_TRUE(RequireFit(*fit, "nano"));
  fit->memory_bytes -= 2 * fit->experts.largest;  // two for a token, and two that are read meanwhile
  const Status status = RequireFit(*fit, "nano");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kNoMemory);
  EXPECT_NE(status.error().message.find("4 experts need"), std::string::npos) << status.error().message;
  const Fit dense{.weight_bytes = 1000, .memory_bytes = 999};  // without experts the limit holds too
  EXPECT_FALSE(RequireFit(dense, "dense"));
}

}  // namespace
}  // namespace minke
