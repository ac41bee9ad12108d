#include "minke/cli/lab_jobs.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "minke/base/file.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

class LabJobs : public testing::Test {
 protected:
  LabJobs() {
    std::string name = (fs::temp_directory_path() / "minke_lab_jobs_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~LabJobs() override { fs::remove_all(folder_); }

  // A job that counts its runs in a file of its own beside the jobs.
  LabJob Counting(const std::string& name, std::vector<std::string> after, int key) const {
    return {name, std::move(after), Json{{"key", key}},
            [path = folder_ + "/" + name, key](const LabWork& work) -> Result<Json> {
              std::ofstream(path, std::ios::app) << "x";
              std::ofstream(work.folder + "/left", std::ios::app) << "y";
              return Json{{"twice", 2 * key}};
            }};
  }
  size_t Runs(const std::string& name) const { return ReadFile(folder_ + "/" + name, 100).value_or("").size(); }

  std::string folder_;
};

TEST_F(LabJobs, RunInOrderAndAreReused) {
  const LabJob jobs[] = {Counting("a", {}, 1), Counting("b", {"a"}, 2)};
  for (int pass = 0; pass < 2; ++pass) {
    const auto results = RunLabJobs(folder_, jobs, 2, {});
    ASSERT_TRUE(results) << results.error().message;
    EXPECT_EQ(results->at("b").result["twice"], 4);
    EXPECT_EQ(results->at("b").reused, pass == 1);
  }
  EXPECT_EQ(Runs("a"), 1u);
  EXPECT_EQ(Runs("b"), 1u);
}

TEST_F(LabJobs, AnotherKeyRunsAgainWithAllThatComesAfter) {
  const LabJob first[] = {Counting("a", {}, 1), Counting("b", {"a"}, 2), Counting("c", {}, 3)};
  ASSERT_TRUE(RunLabJobs(folder_, first, 2, {}));
  const LabJob second[] = {Counting("a", {}, 9), Counting("b", {"a"}, 2), Counting("c", {}, 3)};
  const auto results = RunLabJobs(folder_, second, 2, {});
  ASSERT_TRUE(results);
  EXPECT_EQ(results->at("a").result["twice"], 18);
  EXPECT_EQ(Runs("a"), 2u);
  EXPECT_EQ(Runs("b"), 2u);
  EXPECT_EQ(Runs("c"), 1u);
  EXPECT_EQ(ReadFile(LabJobFolder(folder_, "a") + "/left", 100).value_or(""), "y");  // of the second run alone
}

TEST_F(LabJobs, FailureSaysWhichAndWhy) {
  const LabJob jobs[] = {
      {"bad", {}, {}, [](const LabWork&) -> Result<Json> { return Fail(Code::kDamaged, "no such luck"); }},
      Counting("after", {"bad"}, 1)};
  const auto results = RunLabJobs(folder_, jobs, 2, {});
  ASSERT_FALSE(results);
  EXPECT_EQ(results.error().code, Code::kDamaged);
  EXPECT_EQ(results.error().message, "job bad: no such luck");
  EXPECT_EQ(Runs("after"), 0u);
}

TEST_F(LabJobs, KilledJobFindsWhatItLeft) {
  const LabJob jobs[] = {{"once", {}, {}, [](const LabWork& work) -> Result<Json> {
                            if (fs::exists(work.folder + "/half")) return Json{{"resumed", true}};
                            std::ofstream(work.folder + "/half") << "z";
                            ::raise(SIGKILL);
                            return Json();
                          }}};
  const auto killed = RunLabJobs(folder_, jobs, 1, {});
  ASSERT_FALSE(killed);
  EXPECT_NE(killed.error().message.find("signal 9"), std::string::npos) << killed.error().message;
  const auto again = RunLabJobs(folder_, jobs, 1, {});
  ASSERT_TRUE(again);
  EXPECT_EQ(again->at("once").result["resumed"], true);
}

TEST_F(LabJobs, StopEndsRunningJobs) {
  const LabJob jobs[] = {{"long", {}, {}, [](const LabWork&) -> Result<Json> {
                            ::sleep(100);
                            return Json();
                          }}};
  LabWatcher watcher;
  watcher.should_stop = [] { return true; };
  const auto results = RunLabJobs(folder_, jobs, 1, watcher);
  ASSERT_FALSE(results);
  EXPECT_EQ(results.error().code, Code::kCancelled);
}

TEST_F(LabJobs, ThreadsAreShared) {
  const auto report = [](const LabWork& work) -> Result<Json> { return Json(work.threads); };
  const LabJob jobs[] = {
      {"one", {}, {}, report, 1}, {"two", {"one"}, {}, report, 0}, {"alone", {}, {}, report, 0, true}};
  const auto results = RunLabJobs(folder_, jobs, 2, {});
  ASSERT_TRUE(results);
  EXPECT_EQ(results->at("one").result, 1);
  EXPECT_EQ(results->at("two").result, 2);
  EXPECT_EQ(results->at("alone").result, 2);
}

}  // namespace
}  // namespace minke
