#include "minke/train/run_record.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

RunRecord Record(int threads) { return {.tokenizer = "0123", .kernels = "avx2", .threads = threads}; }

TEST(RunRecord, OneEntryForEachChange) {
  const Json first = ResumeRuns(nullptr, Record(1), 0, "out")->runs;
  EXPECT_EQ(first,
            (Json{{{"tokenizer", "0123"}, {"kernels", "avx2"}, {"dtype", "f32"}, {"threads", 1}, {"from_step", 0}}}));
  EXPECT_EQ(ResumeRuns(first, Record(1), 5, "out")->runs, first);
  const auto wider = ResumeRuns(first, Record(2), 5, "out");
  EXPECT_EQ(wider->runs.size(), 2u);
  EXPECT_EQ(wider->runs[1]["from_step"], 5);
  EXPECT_EQ(wider->warning, "") << "threads change no bytes";
}

TEST(RunRecord, AnotherKernelSetIsSaidAnotherTokenizerRefused) {
  const Json first = ResumeRuns(nullptr, Record(1), 0, "out")->runs;
  RunRecord other = Record(1);
  other.kernels = "reference";
  const auto resumed = ResumeRuns(first, other, 5, "out");
  ASSERT_TRUE(resumed);
  EXPECT_NE(resumed->warning.find("avx2 and goes on with reference"), std::string::npos) << resumed->warning;
  EXPECT_EQ(resumed->warning.find('\n'), std::string::npos);
  EXPECT_EQ(ResumeRuns(resumed->runs, other, 6, "out")->warning, "") << "said once";
  other.tokenizer = "4567";
  EXPECT_EQ(ResumeRuns(first, other, 5, "out").error().code, Code::kCannotResume);
  for (const char* damaged : {"{}", "[1]", "[{\"tokenizer\": 1, \"kernels\": \"\"}]"})
    EXPECT_EQ(ResumeRuns(Json::parse(damaged), other, 5, "out").error().code, Code::kDamaged) << damaged;
}

TEST(RunRecord, TheHashIsOfBothFiles) {
  const KernelSet& kernels = **ChooseKernelSet("");
  const auto hash = [&](std::vector<std::pair<std::string, std::string>> texts) {
    return RunRecord::Of({.config = {}, .folder = "", .texts = std::move(texts)}, kernels, 1)->tokenizer;
  };
  const std::string both = hash({{"tokenizer.json", "a"}, {"tokenizer_config.json", "b"}});
  EXPECT_EQ(both, hash({{"tokenizer_config.json", "b"}, {"other", "c"}, {"tokenizer.json", "a"}}));
  EXPECT_NE(both, hash({{"tokenizer.json", "a"}, {"tokenizer_config.json", "c"}}));
  EXPECT_NE(both, hash({{"tokenizer.json", "b"}, {"tokenizer_config.json", "b"}}));
  EXPECT_NE(both, hash({{"tokenizer.json", "ab"}}));
  EXPECT_EQ(both.size(), 16u);
}

}  // namespace
}  // namespace minke
