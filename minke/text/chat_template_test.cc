#include "minke/text/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>

namespace minke {
namespace {

// The marks of the family that recognition looks for, in the order in which templates have them.
const std::string kFamily =
    "{{ns.system_prompt}}{{'<｜User｜>'}}{{'<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + tool['type'] "
    "+ "
    "'<｜tool▁sep｜>'}}{%- for tool in message['tool_calls'] %}{{'<｜tool▁call▁end｜><｜end▁of▁sentence｜>'}}"
    "{{'<｜tool▁output▁begin｜>'}}{% if add_generation_prompt %}";
const std::string kFence = "{{'```json' + '<｜tool▁outputs▁begin｜>'}}";
const std::string kLastThink = "{% set content = content.split('</think>')[-1] %}";

TEST(RecognizeTemplate, TheFamilyIsToldApart) {
  const TemplateChoice v3 = RecognizeTemplate(kFamily + kFence, "deepseek_v3");
  EXPECT_EQ(v3.format, ChatFormat::kV3);
  EXPECT_TRUE(v3.is_own);
  const TemplateChoice r1 = RecognizeTemplate(kFamily + kFence + kLastThink, "deepseek_v3");
  EXPECT_EQ(r1.format, ChatFormat::kR1);
  EXPECT_FALSE(r1.opens_think);
  EXPECT_TRUE(RecognizeTemplate(kFamily + kFence + kLastThink + "{{'<｜Assistant｜><think>\\n'}}", "").opens_think);
  const TemplateChoice v31 =
      RecognizeTemplate(kFamily + "{% if not thinking %}{{'</think>'}}{% else %}{{'<think>'}}", "deepseek_v32");
  EXPECT_EQ(v31.format, ChatFormat::kV31);
  EXPECT_TRUE(v31.is_own);
}

TEST(RecognizeTemplate, AForeignTemplateIsSaid) {
  for (const std::string& text : {std::string("{{ messages }}"), kFamily, kFamily + kFence + "{% for tool in tools %}",
                                  kFamily + kFence + "<think>"}) {
    const TemplateChoice choice = RecognizeTemplate(text, "deepseek_v32");
    EXPECT_EQ(choice.format, ChatFormat::kV32);
    EXPECT_FALSE(choice.is_own);
    EXPECT_NE(choice.note.find("none of"), std::string::npos) << choice.note;
  }
}

TEST(RecognizeTemplate, WithoutATemplateTheFamilyDecides) {
  EXPECT_EQ(RecognizeTemplate("", "deepseek_v32").format, ChatFormat::kV32);
  EXPECT_TRUE(RecognizeTemplate("", "deepseek_v32").is_own);
  EXPECT_EQ(RecognizeTemplate("", "deepseek_v3").format, ChatFormat::kV3);
  EXPECT_FALSE(RecognizeTemplate("", "deepseek_v3").is_own);
}

TEST(ChooseTemplate, NanoHasV32sEncoding) {
  const auto choice = ChooseTemplate(MINKE_TEST_DATA "/nano-hf", "deepseek_v32");
  ASSERT_TRUE(choice.has_value()) << choice.error().message;
  EXPECT_EQ(choice->format, ChatFormat::kV32);
  EXPECT_TRUE(choice->is_own);
}

TEST(ChooseTemplate, TheFilesOfAFolder) {
  const std::string folder = testing::TempDir();
  const auto write = [&](const char* name, const std::string& text) { std::ofstream(folder + "/" + name) << text; };
  const auto both = [&] {
    std::remove((folder + "/chat_template.jinja").c_str());
    std::remove((folder + "/tokenizer_config.json").c_str());
  };
  both();
  EXPECT_EQ(ChooseTemplate(folder, "deepseek_v3")->note, RecognizeTemplate("", "deepseek_v3").note);
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "rag", "template": "x"}, {"name": "default", "template": "y"}]})");
  EXPECT_FALSE(ChooseTemplate(folder, "deepseek_v32")->is_own);
  write("chat_template.jinja", kFamily + kFence);
  EXPECT_EQ(ChooseTemplate(folder, "deepseek_v32")->format, ChatFormat::kV3);
  both();
  write("tokenizer_config.json", "{");
  EXPECT_EQ(ChooseTemplate(folder, "x").error().code, Code::kDamaged);
  write("tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_EQ(ChooseTemplate(folder, "x").error().code, Code::kDamaged);
  both();
}

TEST(TemplateOfTokenizerConfig, MayBeAbsent) {
  EXPECT_EQ(TemplateOfTokenizerConfig("{}", "t"), "");
  EXPECT_EQ(TemplateOfTokenizerConfig(R"({"chat_template": null})", "t"), "");
  EXPECT_EQ(TemplateOfTokenizerConfig(R"({"chat_template": "x"})", "t"), "x");
}

}  // namespace
}  // namespace minke
