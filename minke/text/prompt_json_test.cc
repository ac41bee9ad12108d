#include "minke/text/prompt_json.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

std::string Through(std::string_view text) {
  const auto json = PromptJson::Parse(text, "test");
  return json ? json->Dump() : "error: " + json.error().message;
}

// Right sides were printed by Python 3.11: json.dumps(json.loads(text), ensure_ascii=False).
TEST(PromptJson, PrintsAsPythonDoes) {
  EXPECT_EQ(Through(R"( {"b":1,"a":[ ],"c":{ }} )"), R"({"b": 1, "a": [], "c": {}})");
  EXPECT_EQ(Through(R"([true,false,null])"), "[true, false, null]");
  EXPECT_EQ(Through(R"("中\u4e2d\ud83d\ude00\/")"), "\"中中😀/\"");
  EXPECT_EQ(Through("\"\\u0000\\u001f\\u007f\\b\\f\\n\\r\\t\\\"\\\\\""),
            "\"\\u0000\\u001f\x7f\\b\\f\\n\\r\\t\\\"\\\\\"");
  EXPECT_EQ(Through(R"({"a":1,"b":2,"a":3})"), R"({"a": 3, "b": 2})");
}

TEST(PromptJson, IntegersKeepEveryDigit) {
  EXPECT_EQ(Through("123456789012345678901234567890"), "123456789012345678901234567890");
  EXPECT_EQ(Through("-9223372036854775809"), "-9223372036854775809");
  EXPECT_EQ(Through("0"), "0");
  EXPECT_EQ(Through("-0"), "0");
}

TEST(PromptJson, FractionsArePythonFloats) {
  const std::pair<const char*, const char*> cases[] = {{"1e3", "1000.0"},
                                                       {"2.50", "2.5"},
                                                       {"1e-7", "1e-07"},
                                                       {"1e16", "1e+16"},
                                                       {"1E15", "1000000000000000.0"},
                                                       {"1234567890123456.7", "1234567890123456.8"},
                                                       {"12345678901234567.8", "1.2345678901234568e+16"},
                                                       {"0.0001", "0.0001"},
                                                       {"0.00001", "1e-05"},
                                                       {"0.00012345", "0.00012345"},
                                                       {"-1.5e3", "-1500.0"},
                                                       {"1.0", "1.0"},
                                                       {"-0.0", "-0.0"},
                                                       {"0e5", "0.0"},
                                                       {"1e400", "Infinity"},
                                                       {"-1e400", "-Infinity"},
                                                       {"1e-400", "0.0"},
                                                       {"-1e-400", "-0.0"},
                                                       {"0.1", "0.1"},
                                                       {"1e22", "1e+22"},
                                                       {"1e100", "1e+100"},
                                                       {"5e-324", "5e-324"},
                                                       {"1.7976931348623157e308", "1.7976931348623157e+308"},
                                                       {"100.0", "100.0"},
                                                       {"0.30000000000000004", "0.30000000000000004"},
                                                       {"1e99999999999999999999", "Infinity"},
                                                       {"1e-99999999999999999999", "0.0"},
                                                       {"0.0e99999999999999999999", "0.0"},
                                                       {"9007199254740993.0", "9007199254740992.0"},
                                                       {"2.5e+0", "2.5"},
                                                       {"2.2250738585072011e-308", "2.225073858507201e-308"}};
  for (const auto& [text, printed] : cases) EXPECT_EQ(Through(text), printed) << text;
  EXPECT_EQ(PythonFloat("0." + std::string(400, '0') + "1e401"), "1.0");
  EXPECT_EQ(PythonFloat("0." + std::string(400, '0') + "1e1"), "0.0");
  EXPECT_EQ(PythonFloat("1" + std::string(400, '0') + ".5"), "Infinity");
}

TEST(PromptJson, RefusesWhatIsNotJson) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[1,]",
                           "{\"a\":1,}",
                           "{a:1}",
                           "01",
                           "1.",
                           ".5",
                           "+1",
                           "-",
                           "1e",
                           "nul",
                           "NaN",
                           "Infinity",
                           "\"a",
                           "\"\n\"",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\u12g4\"",
                           "\"\\ud800\"",
                           "\"\\udc00\"",
                           "\"\\ud800\\u0041\"",
                           "1 2",
                           "[1 2]",
                           "{\"a\" 1}",
                           "'a'",
                           "\xFF",
                           "\"\xC0\x80\""})
    EXPECT_TRUE(Through(text).starts_with("error: test: not valid JSON")) << text << " gave " << Through(text);
}

TEST(PromptJson, DepthAndSizeAreBounded) {
  const auto nested = [](int n) { return std::string(n, '[') + std::string(n, ']'); };
  EXPECT_EQ(Through(nested(64)), nested(64));
  EXPECT_TRUE(Through(nested(65)).starts_with("error"));
  EXPECT_TRUE(Through(std::string(1 << 20, '[')).starts_with("error"));
  EXPECT_TRUE(Through(std::string(1 << 20, '{')).starts_with("error"));
  std::string many = "[0";
  for (int i = 0; i < PromptJson::kMaxValues; ++i) many += ",0";
  EXPECT_TRUE(Through(many + "]").starts_with("error"));
}

}  // namespace
}  // namespace minke
