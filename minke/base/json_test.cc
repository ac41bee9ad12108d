#include "minke/base/json.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

TEST(Json, ReadsAValue) {
  const auto value = ParseJson(R"({"b": [1, 2.5, null, true], "a": "\u00e9"})", "x");
  ASSERT_TRUE(value) << value.error().message;
  EXPECT_EQ((*value)["b"][1], 2.5);
  EXPECT_EQ((*value)["a"], "é");
}

TEST(Json, RefusesWhatIsNotJson) {
  for (const char* text : {"", "{", "{\"a\":}", "[1,]", "nul", "1e999", "\"\\ud800\"", "\"\xff\"", "{} {}", "NaN"}) {
    const auto value = ParseJson(text, "file.json");
    ASSERT_FALSE(value) << text;
    EXPECT_EQ(value.error().code, Code::kDamaged);
    EXPECT_EQ(value.error().message.rfind("file.json: ", 0), 0u) << value.error().message;
  }
}

TEST(Json, DuplicateKeysAreRefused) {
  const auto value = ParseJson(R"({"a": 1, "b": 2, "a": 3})", "x");
  ASSERT_FALSE(value);
  EXPECT_NE(value.error().message.find("\"a\" appears twice"), std::string::npos) << value.error().message;
  EXPECT_TRUE(ParseJson(R"([{"a": 1}, {"a": {"a": 2}}])", "x"));
}

TEST(Json, DepthIsLimited) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(ParseJson(nested(64), "x"));
  EXPECT_FALSE(ParseJson(nested(65), "x"));
  EXPECT_FALSE(ParseJson(nested(1'000'000), "x"));
  EXPECT_TRUE(ParseJson(nested(100), "x", {.max_depth = 100}));
}

TEST(Json, OrderedKeepsKeysAsWritten) {
  OrderedJson value;
  value["z"] = 1, value["a"] = 2;
  EXPECT_EQ(DumpJson(value), R"({"z":1,"a":2})");
}

TEST(Json, DumpReplacesInvalidUtf8) { EXPECT_EQ(DumpJson(Json("a\xff")), "\"a\xEF\xBF\xBD\""); }

TEST(Json, RefusesMoreValuesThanAsked) {
  const JsonLimits limits{.max_values = 4};
  EXPECT_TRUE(ParseJson("[1, 2, {}]", "test", limits));
  const auto many = ParseJson("[1, 2, 3, {}]", "test", limits);
  ASSERT_FALSE(many);
  EXPECT_EQ(many.error().code, Code::kDamaged);
}

}  // namespace
}  // namespace minke
