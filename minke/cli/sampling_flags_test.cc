#include "minke/cli/sampling_flags.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "minke/base/json.h"

namespace minke {
namespace {

std::string Folder(const std::string& generation_config) {
  const auto folder = std::filesystem::path(testing::TempDir()) / ("sampling_" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "generation_config.json") << generation_config;
  return folder.string();
}

Result<SamplingParams> Make(const SamplingFlags& flags, const std::string& folder) {
  return MakeSamplingParams(flags, folder, /*vocab_size=*/100);
}

TEST(SamplingFlags, ANumberIsWrittenAsItWasGiven) {
  for (const char* text : {"0.6", "0.95", "1.0", "0.3333"})
    EXPECT_EQ(Json(AsGiven(std::strtof(text, nullptr))).dump(), text);
}

TEST(SamplingFlags, TheUserThenTheModelThenTheDefault) {
  SamplingFlags flags;
  EXPECT_FLOAT_EQ(Make(flags, "/no/such/folder")->temperature, 0.6f);
  const std::string folder = Folder(R"({"temperature": 1.0, "top_p": 0.95, "do_sample": true})");
  EXPECT_FLOAT_EQ(Make(flags, folder)->temperature, 1.0f);
  EXPECT_FLOAT_EQ(Make(flags, folder)->top_p, 0.95f);
  flags.temperature = 0.0f;
  EXPECT_FLOAT_EQ(Make(flags, folder)->temperature, 0.0f);
}

TEST(SamplingFlags, BadFilesAndBiasesAreNamed) {
  SamplingFlags flags;
  EXPECT_EQ(Make(flags, Folder(R"({"temperature": "hot"})")).error().code, Code::kDamaged);
  EXPECT_EQ(Make(flags, Folder("[]")).error().code, Code::kDamaged);
  EXPECT_EQ(Make(flags, Folder(R"({"temperature": 3})")).error().code, Code::kDamaged);
  EXPECT_EQ(Make(flags, Folder(R"({"top_p": 0})")).error().code, Code::kDamaged);
  EXPECT_EQ(Make(flags, Folder(R"({"top_k": 1000})"))->top_k, 100);  // all
  flags.logit_bias = {"3=-100", "4=1.5"};
  const auto params = Make(flags, "/no/such/folder");
  ASSERT_EQ(params->logit_bias.size(), 2u);
  EXPECT_EQ(params->logit_bias[1].token, 4);
  EXPECT_FLOAT_EQ(params->logit_bias[1].bias, 1.5f);
  for (const char* bad : {"", "x=1", "3", "3=", "3=1x"}) {
    flags.logit_bias = {bad};
    EXPECT_EQ(Make(flags, "/no/such/folder").error().code, Code::kInvalidArgument) << bad;
  }
}

TEST(SamplingFlags, TheAnswerNeverPassesTheContextOrTheCache) {
  SamplingFlags flags;
  EXPECT_EQ(*AnswerLimit(flags, true, 100, 1000, 900), 900);
  EXPECT_EQ(*AnswerLimit(flags, true, 100, 100000, 99900), 32768);
  EXPECT_EQ(*AnswerLimit(flags, false, 100, 100000, 99900), 4096);
  EXPECT_EQ(*AnswerLimit(flags, false, 100, 100000, 29), 29);  // a cache of two pages
  EXPECT_EQ(*AnswerLimit(flags, false, 100, 100000, -5), 1);   // the prompt does not fit: Submit says so
  EXPECT_EQ(AnswerLimit(flags, false, 1000, 1000, 0).error().code, Code::kInvalidArgument);
  flags.max_tokens = 50;
  EXPECT_EQ(*AnswerLimit(flags, true, 950, 1000, 50), 50);
  EXPECT_EQ(AnswerLimit(flags, true, 951, 1000, 49).error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace minke
