#include "minke/train/metrics.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <fstream>

#include "minke/base/file.h"

namespace minke {
namespace {

class Metrics : public ::testing::Test {
 protected:
  void SetUp() override { std::ofstream(path_) << "old\n"; }
  MetricsWriter Open(int64_t last_step) {
    auto writer = MetricsWriter::Open(path_, last_step);
    EXPECT_TRUE(writer) << (writer ? "" : writer.error().message);
    return std::move(*writer);
  }
  std::string Text() const { return *ReadFile(path_, 1 << 20); }

  const std::string path_ = ::testing::TempDir() + "minke-metrics-" +
                            ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".jsonl";
};

void WriteSteps(MetricsWriter& writer, int first, int last) {
  for (int step = first; step <= last; ++step) {
    const MetricField fields[] = {{"loss", 1.0 / step}};
    ASSERT_TRUE(writer.Write(step, fields));
  }
}

TEST_F(Metrics, WritesFieldsInOrderAndAtOnce) {
  MetricsWriter writer = Open(-1);
  const MetricField fields[] = {
      {"loss", 0.1}, {"tokens", int64_t{3}}, {"z", std::nan("")}, {"stage", "s\"ft"}, {"kept", true}};
  ASSERT_TRUE(writer.Write(7, fields));
  EXPECT_EQ(Text(),
            "{\"step\": 7, \"loss\": 0.1, \"tokens\": 3, \"z\": null, \"stage\": \"s\\\"ft\", \"kept\": true}\n");
}

TEST_F(Metrics, AResumedRunHasEveryStepOnce) {
  {
    MetricsWriter writer = Open(-1);
    WriteSteps(writer, 1, 9);
  }
  const std::string whole = Text();
  std::ofstream(path_, std::ios::app) << "{\"step\": 10, \"lo";  // killed in the middle of a line
  {
    MetricsWriter writer = Open(6);
    WriteSteps(writer, 7, 9);
  }
  EXPECT_EQ(Text(), whole);
  std::ofstream(path_, std::ios::app) << "{\"step\": 10, \"lo";
  {
    MetricsWriter writer = Open(9);
  }
  EXPECT_EQ(Text(), whole);
}

TEST_F(Metrics, RefusesAFileThatIsNotItsOwn) {
  const auto writer = MetricsWriter::Open(path_, 3);
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().code, Code::kDamaged);
  EXPECT_NE(writer.error().message.find("line 1"), std::string::npos) << writer.error().message;
  EXPECT_EQ(Text(), "old\n");
  EXPECT_FALSE(MetricsWriter::Open("/nonexistent/metrics.jsonl", -1));
  EXPECT_FALSE(MetricsWriter::Open(::testing::TempDir(), -1));
}

TEST_F(Metrics, ALineThatDoesNotFitLeavesWholeLines) {
  MetricsWriter writer = Open(-1);
  WriteSteps(writer, 1, 3);
  const std::string before = Text();
  struct rlimit old;
  getrlimit(RLIMIT_FSIZE, &old);
  const struct rlimit tight = {before.size() + 5, old.rlim_max};
  std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &tight);
  const Status full = writer.Write(4, {});
  setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_FALSE(full);
  EXPECT_EQ(Text(), before);
  WriteSteps(writer, 4, 4);
  EXPECT_TRUE(Text().starts_with(before + "{\"step\": 4,"));
}

}  // namespace
}  // namespace minke
