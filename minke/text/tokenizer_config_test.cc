#include "minke/text/tokenizer_config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace minke {
namespace {

TEST(AddsBeginToken, IsAFieldThatMayBeAbsent) {
  EXPECT_EQ(AddsBeginToken(R"({"add_bos_token": true})", "t"), true);
  EXPECT_EQ(AddsBeginToken(R"({"add_bos_token": false})", "t"), false);
  EXPECT_EQ(AddsBeginToken(R"({"add_bos_token": null})", "t"), false);
  EXPECT_EQ(AddsBeginToken("{}", "t"), false);
  for (const char* damaged : {"", "{", "[]", R"({"add_bos_token": 1})", R"({"add_bos_token": "true"})"}) {
    const auto adds = AddsBeginToken(damaged, "t.json");
    ASSERT_FALSE(adds) << damaged;
    EXPECT_EQ(adds.error().code, Code::kDamaged);
    EXPECT_TRUE(adds.error().message.starts_with("t.json: ")) << adds.error().message;
  }
}

TEST(AddsBeginToken, OfAFolder) {
  const std::string folder = testing::TempDir() + "tokenizer_config_" + std::to_string(::getpid());
  std::filesystem::create_directory(folder);
  EXPECT_EQ(FolderAddsBeginToken(folder), false);
  std::ofstream(folder + "/tokenizer_config.json") << R"({"add_bos_token": true})";
  EXPECT_EQ(FolderAddsBeginToken(folder), true);
  std::ofstream(folder + "/tokenizer_config.json") << "{";
  EXPECT_EQ(FolderAddsBeginToken(folder).error().code, Code::kDamaged);
  std::filesystem::remove_all(folder);
  EXPECT_EQ(FolderAddsBeginToken(MINKE_TEST_DATA "/nano-hf"), true);
}

}  // namespace
}  // namespace minke
