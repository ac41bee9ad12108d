#include "minke/train/document.h"

#include <gtest/gtest.h>

#include "minke/text/bpe_trainer.h"
#include "minke/text/markers.h"

namespace minke {
namespace {

class Documents : public ::testing::Test {
 protected:
  // The document as text, with what is to be learned in brackets.
  std::string Shown(std::string_view line, ChatFormat format = ChatFormat::kV32, DocumentOptions options = {}) {
    TemplateChoice choice;
    choice.format = format;
    const auto encoder = DocumentEncoder::Create(*tokenizer_, choice, options);
    if (!encoder) return encoder.error().message;
    const auto parsed = DataLine::Parse(line);
    if (!parsed) return parsed.error().message;
    const auto document = encoder->Encode(*parsed);
    if (!document) return document.error().message;
    tokens_ = document->tokens;
    std::string out;
    bool inside = false;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (inside != (document->loss[i] == 1)) out += inside ? "]" : "[";
      inside = document->loss[i] == 1;
      const std::string_view bytes = tokenizer_->TokenBytes(tokens_[i]);
      out += bytes == markers::kBegin       ? "<b>"
             : bytes == markers::kEnd       ? "<e>"
             : bytes == markers::kUser      ? "<u>"
             : bytes == markers::kAssistant ? "<a>"
                                            : bytes;
    }
    return inside ? out + "]" : out;
  }

  const std::unique_ptr<Tokenizer> tokenizer_ = std::move(*Tokenizer::Open(MINKE_TEST_DATA "/nano-hf"));
  std::vector<TokenId> tokens_;
};

TEST_F(Documents, ATextIsLearnedButForItsFirstToken) {
  EXPECT_EQ(Shown(R"({"text": "hi <think>", "id": 5})"), "<b>[hi <think><e>]");
  const size_t tokens = tokens_.size();
  EXPECT_EQ(Shown(R"({"text": "hi <think>"})", ChatFormat::kV32, {.parse_markers = false}), "<b>[hi <think><e>]");
  EXPECT_GT(tokens_.size(), tokens);
  EXPECT_EQ(Shown(R"({"text": "ab"})", ChatFormat::kV32, {.begin_token = false, .end_token = false}), "a[b]");
  EXPECT_EQ(Shown(R"({"text": ""})"), "nothing to learn: the text is empty");
}

TEST_F(Documents, AnAnswerIsLearnedWithItsEnd) {
  EXPECT_EQ(Shown(R"({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"},
                                   {"role": "assistant", "content": "A", "reasoning_content": "R"}]})"),
            "<b>S<u>Q<a><think>[R</think>A<e>]");
  // Earlier reasoning is not shown; a message may be left out of the loss; the question at the end goes.
  EXPECT_EQ(
      Shown(R"({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "loss": false},
                                   {"role": "user", "content": "P"}, {"role": "assistant", "content": "B"},
                                   {"role": "user", "content": "O"}]})"),
      "<b><u>Q<a></think>A<e><u>P<a></think>[B<e>]");
}

TEST_F(Documents, ReasoningBeforeTheLastQuestionIsNoThinking) {
  EXPECT_EQ(Shown(R"({"messages": [{"role": "user", "content": "Q"},
                                   {"role": "assistant", "content": "A", "reasoning_content": "R"},
                                   {"role": "user", "content": "P"}, {"role": "assistant", "content": "B"}]})"),
            "<b><u>Q<a></think>[A<e>]<u>P<a></think>[B<e>]");
}

TEST_F(Documents, ResultsOfToolsAreNotLearned) {
  const std::string shown = Shown(R"({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "messages": [{"role": "user", "content": "Q"},
                 {"role": "assistant", "reasoning_content": "R", "content": "",
                  "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                 {"role": "tool", "tool_call_id": "1", "content": "42"},
                 {"role": "assistant", "reasoning_content": "T", "content": "A"}]})");
  EXPECT_NE(shown.find("<think>[R</think>"), std::string::npos) << shown;
  EXPECT_NE(shown.find("function_calls><e>]\n\n<function_results>\n<result>42</result>\n</function_results>\n\n<think>"
                       "[T</think>A<e>]"),
            std::string::npos)
      << shown;
}

TEST_F(Documents, PartsFollowAQuestionAndCarryTheirOwnLoss) {
  const char* line =
      R"({"messages": [{"role": "user", "content": "12"}], "parts": [{"text": "1+2="}, {"text": "3", "loss": false},)"
      R"( {"text": "!</think>1+2=3<｜end▁of▁sentence｜>", "loss": true}]})";
  EXPECT_EQ(Shown(line), "<b><u>12<a><think>[1+2=]3[!</think>1+2=3<e>]");
  EXPECT_EQ(Shown(R"({"messages": [{"role": "user", "content": "1"}], "parts": [{"loss": true}]})"),
            "parts[0]: expected {\"text\": ..., \"loss\": true or false}");
  EXPECT_EQ(Shown(R"({"messages": [{"role": "assistant", "content": "1"}], "parts": []})"),
            "\"parts\" follow a question, and the last message is none");
}

TEST_F(Documents, OtherFormatsLearnTheirOwnTurns) {
  const char* line = R"({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]})";
  EXPECT_EQ(Shown(line, ChatFormat::kV3), "<b><u>Q<a>[A<e>]");
  EXPECT_EQ(Shown(line, ChatFormat::kR1), "<b><u>Q<a>[A<e>]");
  EXPECT_EQ(Shown(line, ChatFormat::kV31), "<b><u>Q<a></think>[A<e>]");
  EXPECT_NE(Shown(R"({"messages": [{"role": "user", "content": "Q"},
                                   {"role": "assistant", "content": "A", "reasoning_content": "R"}]})",
                  ChatFormat::kV3)
                .find("shows no reasoning"),
            std::string::npos);
}

TEST_F(Documents, EncodedByPartsHasTheTokensOfTheWhole) {
  const char* line = R"({"messages": [{"role": "user", "content": "Reach 45 "}, {"role": "assistant", "content": " 9+5",
    "reasoning_content": "1 2"}, {"role": "user", "content": "x\n"}, {"role": "assistant", "content": "\ny",
    "reasoning_content": " 3"}]})";
  ASSERT_NE(Shown(line).find("<think>[ 3"), std::string::npos);
  EncodeOptions options;
  options.thinking_mode = ThinkingMode::kThinking;
  const auto prompt = EncodeChat(ChatFormat::kV32, DataLine::Parse(line)->messages, options);
  EXPECT_EQ(tokens_, tokenizer_->Encode(*prompt));
}

TEST_F(Documents, SaysWhatIsWrongWithALine) {
  for (const auto& [line, what] : std::initializer_list<std::pair<const char*, const char*>>{
           {"{", "not valid JSON"},
           {"[]", "expected an object with"},
           {R"({"text": "a", "messages": []})", "expected an object with"},
           {R"({"text": 5})", "\"text\" is no string"},
           {R"({"messages": 5})", "messages is not a list"},
           {R"({"messages": [{"role": "user", "content": "Q"}]})", "nothing to learn: no assistant message"},
           {R"({"messages": [{"role": "user", "content": "Q", "loss": true}]})", "only an assistant's can be"},
           {R"({"messages": [{"role": "assistant", "content": "Q", "loss": 1}]})", "loss is not true or false"},
           {R"({"messages": [{"role": "king", "content": "Q"}]})", "king"}})
    EXPECT_NE(Shown(line).find(what), std::string::npos) << line << ": " << Shown(line);
}

TEST_F(Documents, ATokenizerWithoutTheMarkersIsRefused) {
  BpeTrainer trainer;
  trainer.Add("ab");
  BpeTrainerOptions options;
  options.vocab_size = 300;
  const auto bare = Tokenizer::Parse(trainer.Train(options)->TokenizerJson(), "t");
  ASSERT_TRUE(bare) << bare.error().message;
  EXPECT_NE(DocumentEncoder::Create(**bare, {}, {}).error().message.find("no token <｜begin"), std::string::npos);
  const auto encoder = DocumentEncoder::Create(**bare, {}, {.begin_token = false, .end_token = false});
  ASSERT_TRUE(encoder);
  EXPECT_TRUE(encoder->Encode(*DataLine::Parse(R"({"text": "abc"})")));
  const char* line = R"({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]})";
  EXPECT_NE(encoder->Encode(*DataLine::Parse(line)).error().message.find("no token <｜User｜>"), std::string::npos);
}

}  // namespace
}  // namespace minke
