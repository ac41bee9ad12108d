#include "minke/train/optimizer_config.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

Result<AdamWOptions> Read(std::string_view text) {
  MINKE_ASSIGN(ConfigFile file, ConfigFile::Parse(text, "x.toml"));
  AdamWOptions options;
  ReadOptimizer(file.Section("optimizer"), options);
  MINKE_TRY(file.Finish());
  return options;
}

TEST(OptimizerConfig, ReadsItsKeysAndLeavesTheOthers) {
  const auto options = Read("[optimizer]\nbeta2 = 0.99\nweight_decay = 0\nclip = 0.5\n");
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->beta1, 0.9f);
  EXPECT_EQ(options->beta2, 0.99f);
  EXPECT_EQ(options->eps, 1e-8f);
  EXPECT_EQ(options->weight_decay, 0);
  EXPECT_EQ(options->clip, 0.5f);
}

TEST(OptimizerConfig, RefusesWhatWouldDivideByZeroOrTrainNothing) {
  for (const char* line : {"beta1 = 1", "beta2 = 1.0", "eps = 0", "clip = 0", "weight_decay = -1"}) {
    const auto options = Read(std::string("[optimizer]\n") + line + "\n");
    ASSERT_FALSE(options) << line;
    EXPECT_TRUE(options.error().message.starts_with("x.toml:2: optimizer.")) << options.error().message;
  }
  const auto typo = Read("[optimizer]\nbeta = 0.5\n");
  ASSERT_FALSE(typo);
  EXPECT_NE(typo.error().message.find("did you mean beta"), std::string::npos) << typo.error().message;
}

}  // namespace
}  // namespace minke
