#include "minke/cli/model_path.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace minke {
namespace {

namespace fs = std::filesystem;

class ModelPathTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) / ("model_path_" + std::to_string(::getpid()));
    Touch("models/nano/config.json");
    Touch("models/nano-sft/config.json");
    Touch("plain/model.safetensors");
    Touch("plain/notes.txt");
    const std::string repo = "hub/models--org--name/";
    Touch(repo + "snapshots/abc123/config.json");
    Touch(repo + "snapshots/def456/config.json");
    std::ofstream(Make(repo + "refs/main")) << "abc123\n";
    std::ofstream(Make(repo + "refs/pr/7")) << "def456";
    std::ofstream(Make(repo + "refs/evil")) << "../../../..";
    search_.hub_cache = (root_ / "hub").string();
    search_.built_in = {(root_ / "nowhere").string(), (root_ / "models").string()};
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path Make(const std::string& name) {
    const fs::path path = root_ / name;
    fs::create_directories(path.parent_path());
    return path;
  }
  void Touch(const std::string& name) { std::ofstream(Make(name)) << "{}"; }
  std::string At(const std::string& name) { return (root_ / name).string(); }
  std::string PathOf(const std::string& model) {
    const auto found = FindModel(model, search_);
    return found ? found->path : "exit " + std::to_string(ExitCode(found.error().code));
  }

  fs::path root_;
  ModelSearch search_;
};

TEST_F(ModelPathTest, PathsNanoAndHubNames) {
  EXPECT_EQ(PathOf(At("plain")), At("plain"));
  EXPECT_EQ(PathOf(At("plain/model.safetensors")), At("plain/model.safetensors"));
  EXPECT_EQ(FindModel(At("plain/model.safetensors"), search_)->folder, At("plain"));
  EXPECT_EQ(FindModel(At("plain/"), search_)->name, "plain");
  EXPECT_EQ(PathOf("nano"), At("models/nano"));
  EXPECT_EQ(PathOf("nano-sft"), At("models/nano-sft"));
  EXPECT_EQ(PathOf("nano-large"), "exit 3");
  EXPECT_EQ(PathOf("org/name"), At("hub/models--org--name/snapshots/abc123"));
  EXPECT_EQ(PathOf("org/name@def456"), At("hub/models--org--name/snapshots/def456"));
  EXPECT_EQ(PathOf("org/name@pr/7"), At("hub/models--org--name/snapshots/def456"));
}

TEST_F(ModelPathTest, WhatIsNotThereSaysWhatToDo) {
  EXPECT_EQ(PathOf("org/other"), "exit 3");
  EXPECT_EQ(PathOf("org/name@nope"), "exit 3");
  EXPECT_EQ(PathOf("org/name@evil"), "exit 3");
  EXPECT_EQ(PathOf("org/name@../x"), "exit 3");
  EXPECT_EQ(PathOf("../no-such-model-beside-us"), "exit 3");
  EXPECT_EQ(PathOf("/no/such/folder"), "exit 3");
  EXPECT_EQ(PathOf(At("plain/notes.txt")), "exit 2");
  EXPECT_EQ(PathOf(""), "exit 2");
  const auto message = [&](const char* model) { return FindModel(model, search_).error().message; };
  EXPECT_NE(message("org/other").find("\"hf download org/other\""), std::string::npos);
  EXPECT_NE(message("org/other@v1").find("\"hf download org/other --revision v1\""), std::string::npos);
  search_.built_in = {At("nowhere")};
  EXPECT_EQ(PathOf("nano"), "exit 3");
}

TEST(DefaultModelSearch, FindsTheHubCacheAsTheHubDoes) {
  ::unsetenv("HF_HUB_CACHE");
  ::setenv("HF_HOME", "/h", 1);
  EXPECT_EQ(DefaultModelSearch().hub_cache, "/h/hub");
  ::setenv("HF_HUB_CACHE", "/c", 1);
  EXPECT_EQ(DefaultModelSearch().hub_cache, "/c");
  ::unsetenv("HF_HUB_CACHE");
  ::unsetenv("HF_HOME");
}

TEST(DefaultModelSearch, NanoOfThisSourceIsFound) {
  const auto nano = FindModel("nano");
  ASSERT_TRUE(nano) << nano.error().message;
  EXPECT_TRUE(fs::equivalent(nano->path, std::string(MINKE_MODELS) + "/nano"));
}

}  // namespace
}  // namespace minke
