#include "minke/cli/list_flags.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

TEST(ListFlags, SplitsAtEveryComma) {
  EXPECT_EQ(SplitList("0,4k,16K"), (std::vector<std::string>{"0", "4k", "16K"}));
  EXPECT_EQ(SplitList("dsa"), (std::vector<std::string>{"dsa"}));
  EXPECT_EQ(SplitList(",1"), (std::vector<std::string>{"", "1"}));
  EXPECT_EQ(SplitList(""), (std::vector<std::string>{""}));
}

TEST(ListFlags, CountsMayHaveASuffix) {
  EXPECT_EQ(ParseCount("0", 0, 10), 0);
  EXPECT_EQ(ParseCount("4k", 0, 1 << 20), 4096);
  EXPECT_EQ(ParseCount("64K", 0, 1 << 20), 65536);
  EXPECT_EQ(ParseCount("1000", 0, 1 << 20), 1000);
  for (const char* bad :
       {"", "k", "-1", "1.5k", "4kk", "4 k", " 4", "11", "1m", "99999999999999999999", "9223372036854775807k", "0x4"}) {
    const auto count = ParseCount(bad, 0, 10);
    ASSERT_FALSE(count) << bad;
    EXPECT_EQ(count.error().code, Code::kInvalidArgument);
  }
  EXPECT_NE(ParseCount("11k", 1, 10).error().message.find("11k is not a whole number from 1 to 10"), std::string::npos);
  EXPECT_NE(ParseCount("", 1, 10).error().message.find("nothing"), std::string::npos);
}

TEST(ListFlags, CountsAreWrittenAsTheyAreRead) {
  for (const int64_t count : {0, 1, 1000, 1024, 4096, 65536, 131072}) {
    EXPECT_EQ(ParseCount(CountWord(count), 0, 1 << 20), count);
  }
  EXPECT_EQ(CountWord(65536), "64K");
}

TEST(ListFlags, BytesHaveUnits) {
  const std::pair<const char*, int64_t> good[] = {
      {"8G", 8'000'000'000}, {"8GB", 8'000'000'000},    {"8GiB", 8589934592}, {"8Gi", 8589934592}, {"1.5K", 1500},
      {"500MiB", 524288000}, {"2T", 2'000'000'000'000}, {"123", 123},         {"123B", 123}};
  for (const auto& [text, bytes] : good) EXPECT_EQ(ParseBytes(text), bytes) << text;
  for (const char* text : {"", "G", "8X", "8Gb", "-8G", "8 G", "0", "nan", "inf", "1e30", "8iB", "8GG", "8Gx"})
    EXPECT_FALSE(ParseBytes(text)) << text;
}

TEST(ListFlags, ChoicesAreNamedWhenNoneFits) {
  EXPECT_EQ(ParseChoice("dense", {"dsa", "dense"}), "dense");
  EXPECT_EQ(ParseChoice("full", {"dsa", "dense"}).error().message, "full is not one of dsa, dense");
}

}  // namespace
}  // namespace minke
