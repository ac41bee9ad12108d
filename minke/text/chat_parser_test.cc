#include "minke/text/chat_parser.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <sstream>

#include "minke/text/stream_parser.h"

namespace minke {
namespace {

constexpr ThinkingMode kChat = ThinkingMode::kChat, kThinking = ThinkingMode::kThinking;
const std::string kEnd = "<｜end▁of▁sentence｜>";

std::vector<PromptJson> Golden() {
  std::ifstream in(std::string(MINKE_TEST_DATA) + "/golden/chat/parse.json");
  std::stringstream text;
  text << in.rdbuf();
  return PromptJson::Parse(text.str(), "parse.json")->items();
}

// One line that two messages share exactly when they are equal.
std::string Show(const Message& message) {
  std::string out = message.role + "|" + message.reasoning_content + "|" + message.content;
  for (const ToolCall& call : message.tool_calls) out += "|" + call.name + "(" + call.arguments + ")";
  return out;
}

Message Expected(const PromptJson& json) {
  return (*MessagesFromJson(*PromptJson::Parse("[" + json.Dump() + "]", "golden")))[0];
}

TEST(ChatParser, EveryGoldenCompletionOfV32) {
  int messages = 0, errors = 0;
  for (const PromptJson& test : Golden()) {
    const std::string& name = test.Find("name")->text();
    const ThinkingMode mode = *ParseThinkingMode(test.Find("thinking_mode")->text());
    const auto message = ParseCompletion(ChatFormat::kV32, test.Find("completion")->text(), mode);
    if (test.Find("error")) {
      EXPECT_FALSE(message.has_value()) << name;
      ++errors;
    } else {
      ASSERT_TRUE(message.has_value()) << name << ": " << message.error().message;
      EXPECT_EQ(Show(*message), Show(Expected(*test.Find("message")))) << name;
      ++messages;
    }
  }
  EXPECT_EQ(messages, 14);
  EXPECT_EQ(errors, 11);
}

std::string Strict(std::string_view text, ThinkingMode mode = kChat, ChatFormat format = ChatFormat::kV32) {
  const auto message = ParseCompletion(format, text, mode);
  return message ? Show(*message) : "error: " + message.error().message;
}
std::string Tolerant(std::string_view text, ThinkingMode mode = kChat, ChatFormat format = ChatFormat::kV32,
                     bool cut = false) {
  return Show(ParseTolerantly(format, text, mode, cut).message);
}

std::string Block(const std::string& inside) {
  return "\n\n<｜DSML｜function_calls>\n" + inside + "</｜DSML｜function_calls>";
}
std::string Invoke(const std::string& name, const std::string& inside) {
  return "<｜DSML｜invoke name=\"" + name + "\">\n" + inside + "</｜DSML｜invoke>\n";
}
std::string Parameter(const std::string& name, const std::string& is_string, const std::string& value) {
  return "<｜DSML｜parameter name=\"" + name + "\" string=\"" + is_string + "\">" + value + "</｜DSML｜parameter>\n";
}

TEST(ChatParser, StrictGrammarAtItsEdges) {
  // The name ends at "> and a newline, and may hold quotes; spaces before name= are allowed.
  EXPECT_EQ(Strict(Block(Invoke("a\"b", "")) + kEnd), "assistant|||a\"b({})");
  EXPECT_EQ(
      Strict(
          "\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke \n name=\"f\">\n</｜DSML｜invoke>\n</｜DSML｜function_calls>"),
      "assistant|||f({})");
  // A value may hold the closing tag of the call.
  EXPECT_EQ(Strict(Block(Invoke("f", Parameter("x", "true", "</｜DSML｜invoke>\n")))),
            "assistant|||f({\"x\": \"</｜DSML｜invoke>\\n\"})");
  EXPECT_EQ(Strict("a\n" + Block("") + kEnd), "assistant||a\n");
  for (const std::string& text :
       {std::string(), "a</think>" + kEnd, "<think>" + kEnd, "<｜begin▁of▁sentence｜>" + kEnd, kEnd + kEnd,
        Block("") + "x", Block("") + kEnd + "x", Block(Invoke("f", "junk")), Block("junk\n"),
        "a\n<｜DSML｜function_calls>\n</｜DSML｜function_calls>" + kEnd, Block("").substr(0, Block("").size() - 1),
        std::string("\n\n<｜DSML｜function_calls"),
        Block("<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke></｜DSML｜invoke>\n"),
        Block("<｜DSML｜invoke name=\"f\"></｜DSML｜invoke>\n"),
        Block("<｜DSML｜invoke name=\"f\">\n\n\n</｜DSML｜invoke>\n"),
        Block(Invoke("f", "<｜DSML｜parameter name=\"x\" string=\"true\">v/｜DSML｜parameter>\n")),
        Block(Invoke("f", "<｜DSML｜parameter  name=\"x\" string=\"true\">v</｜DSML｜parameter>\n"))})
    EXPECT_TRUE(Strict(text).starts_with("error")) << text;
  EXPECT_TRUE(Strict("r<think></think>a" + kEnd, kThinking).starts_with("error"));
  EXPECT_TRUE(Strict("r" + kEnd + "</think>a" + kEnd, kThinking).starts_with("error"));
}

// What the encoder writes, the parser reads.
TEST(ChatParser, EncodedAnswersParseBack) {
  Message message;
  message.role = "assistant";
  message.content = "text\n\nwith 中文 and\n";
  message.reasoning_content = "hm <b>\n";
  message.tool_calls = {
      {"", "f", R"({"s": "a\n\"b\" <x>", "n": -1.5, "big": 123456789012345678901, "o": {"k": [null, true]}, "": ""})"},
      {"", "g", "{}"}};
  const Message user{.role = "user", .content = "q"};
  for (const ChatFormat format : {ChatFormat::kV32, ChatFormat::kV31, ChatFormat::kR1}) {
    const ThinkingMode mode = format == ChatFormat::kV32 ? kThinking : kChat;
    const std::vector<Message> asked = {user}, answered = {user, message};
    const std::string before = *EncodeChat(format, asked, {.thinking_mode = mode});
    const std::string prompt = *EncodeChat(format, answered, {.thinking_mode = mode, .add_generation_prompt = false});
    ASSERT_TRUE(prompt.starts_with(before));
    Message expected = message;
    if (format != ChatFormat::kV32) expected.reasoning_content.clear();
    EXPECT_EQ(Strict(prompt.substr(before.size()), mode, format), Show(expected)) << Name(format);
    EXPECT_EQ(Tolerant(prompt.substr(before.size()), mode, format), Show(expected)) << Name(format);
  }
}

TEST(ChatParser, OlderFormats) {
  const std::string calls =
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": "
      "1}\n```<｜tool▁call▁end｜>\n"
      "<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
  EXPECT_EQ(Strict("Hi" + kEnd, kChat, ChatFormat::kV3), "assistant||Hi");
  EXPECT_EQ(Strict(calls + kEnd, kChat, ChatFormat::kV3), "assistant|||f({\"a\": 1})|g({})");
  EXPECT_EQ(Strict("<think>\nr\n</think>\n\na" + calls + kEnd, kChat, ChatFormat::kR1),
            "assistant|\nr\n|\n\na|f({\"a\": 1})|g({})");
  EXPECT_EQ(Strict("<think>\nr\n</think>\n\na" + kEnd, kThinking, ChatFormat::kR1), "assistant|\nr\n|\n\na");
  EXPECT_EQ(Strict("\nr</think>a" + kEnd, kThinking, ChatFormat::kR1), "assistant|\nr|a");
  EXPECT_EQ(Strict("r</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\":1}<｜tool▁call▁end｜>"
                   "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>" +
                       kEnd,
                   kThinking, ChatFormat::kV31),
            "assistant|r||f({\"a\":1})|g({})");
  for (const std::string& text : {std::string("Hi"), calls + "x", calls.substr(0, calls.size() - 5),
                                  "a<｜tool▁sep｜>" + kEnd, std::string("<｜tool▁calls▁begin｜>x<｜tool▁calls▁end｜>")})
    EXPECT_TRUE(Strict(text, kChat, ChatFormat::kV3).starts_with("error")) << text;
}

TEST(ChatParser, ToleratesWhatModelsWrite) {
  // Strict text gives the strict message.
  for (const PromptJson& test : Golden()) {
    if (test.Find("error") || test.Find("name")->text() == "json_value_not_checked") continue;
    const ThinkingMode mode = *ParseThinkingMode(test.Find("thinking_mode")->text());
    EXPECT_EQ(Tolerant(test.Find("completion")->text(), mode), Show(Expected(*test.Find("message"))));
  }
  EXPECT_EQ(Tolerant(Block(Invoke("f", Parameter("x", "false", "{oops"))) + kEnd), "assistant|||f({\"x\": \"{oops\"})");
  // Newlines, spaces and brackets that are missing.
  EXPECT_EQ(Tolerant("a<｜DSML｜function_calls><｜DSML｜invoke name=\"f\"><｜DSML｜parameter name=\"x\"  "
                     "string=\"false\" >1</｜DSML｜parameter>"
                     "</｜DSML｜invoke><｜DSML｜invoke name=\"g\"></｜DSML｜invoke></｜DSML｜function_calls> \n" +
                     kEnd),
            "assistant||a|f({\"x\": 1})|g({})");
  // The body as arguments.
  EXPECT_EQ(Tolerant(Block("<｜DSML｜invoke name=\"f\">\n{\"a\": [1]}\n</｜DSML｜invoke>\n")),
            "assistant|||f({\"a\": [1]})");
  // A block that is not closed.
  const std::string f = Invoke("f", ""), open = "\n\n<｜DSML｜function_calls>\n";
  EXPECT_EQ(Tolerant("a" + open + f), "assistant||a|f({})");
  EXPECT_EQ(Tolerant("a" + open + f + kEnd), "assistant||a|f({})");
  EXPECT_EQ(Tolerant("a" + open + f + "</｜DSML｜func"), "assistant||a|f({})");
  // Calls before the break are kept, the rest is content.
  EXPECT_EQ(Tolerant("a" + open + f + "<｜DSML｜invoke nome" + kEnd), "assistant||a<｜DSML｜invoke nome|f({})");
  EXPECT_EQ(Tolerant("a" + open + "junk" + kEnd), "assistant||a" + open + "junk");
  EXPECT_EQ(Tolerant("a" + open + "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"x\" str"),
            "assistant||a" + open + "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"x\" str");
  EXPECT_EQ(Tolerant(Block(Invoke("f", Parameter("x", "true", "1") + Parameter("x", "true", "2")))),
            "assistant||" + Block(Invoke("f", Parameter("x", "true", "1") + Parameter("x", "true", "2"))));
  EXPECT_EQ(Tolerant(Block(f) + " bye" + kEnd), "assistant||bye|f({})");
  // Reasoning that never ends.
  EXPECT_EQ(Tolerant("just text" + kEnd, kThinking), "assistant||just text");
  EXPECT_EQ(Tolerant("just text", kThinking, ChatFormat::kV32, /*cut=*/true), "assistant|just text|");
  EXPECT_EQ(Tolerant("r" + Block(f) + "</think>a" + kEnd, kThinking), "assistant|r" + Block(f) + "|a");
  EXPECT_EQ(Tolerant("a<think>b<｜DSML｜x>" + kEnd + "c"), "assistant||a<think>b<｜DSML｜x>");
  EXPECT_FALSE(ParseTolerantly(ChatFormat::kV32, "cut off", kChat, true).problem.empty());
  EXPECT_TRUE(ParseTolerantly(ChatFormat::kV32, "ok" + kEnd, kChat, false).problem.empty());
}

// A stream in any pieces gives what the whole gives, and nothing that was given out is ever taken back.
TEST(StreamParser, AnyPiecesGiveTheWhole) {
  std::vector<std::pair<std::string, ThinkingMode>> texts;
  for (const PromptJson& test : Golden())
    texts.emplace_back(test.Find("completion")->text(), *ParseThinkingMode(test.Find("thinking_mode")->text()));
  texts.emplace_back("x\n\n\n<｜DSML｜func\n\n<｜DSML｜function_calls", kChat);
  texts.emplace_back("a\n\n" + Block(Invoke("f", "")) + "\n\n more <｜end", kChat);
  texts.emplace_back("</thin</think></think><｜end▁of▁sent<｜end▁of▁sentence｜>", kThinking);
  for (const auto& [text, mode] : texts) {
    StreamParser whole(ChatFormat::kV32, mode);
    whole.Push(text);
    whole.Finish();
    for (const size_t step : {1, 2, 3, 5, 8, 13}) {
      StreamParser parser(ChatFormat::kV32, mode);
      Message sum;
      sum.role = "assistant";
      const auto add = [&](const ChatDelta& delta) {
        sum.reasoning_content += delta.reasoning;
        sum.content += delta.content;
        sum.tool_calls.insert(sum.tool_calls.end(), delta.tool_calls.begin(), delta.tool_calls.end());
      };
      for (size_t pos = 0; pos < text.size(); pos += step) add(parser.Push(std::string_view(text).substr(pos, step)));
      add(parser.Finish());
      EXPECT_EQ(Show(sum), Show(whole.message())) << text << " by " << step;
      EXPECT_EQ(Show(parser.message()), Show(whole.message()));
    }
  }
}

TEST(StreamParser, HoldsBackOnlyWhatCouldBeAMarker) {
  StreamParser parser(ChatFormat::kV32, kThinking);
  EXPECT_EQ(parser.Push("ab</").reasoning, "ab");
  EXPECT_TRUE(parser.Push("think").empty());
  EXPECT_EQ(parser.Push("x").reasoning, "</thinkx");
  EXPECT_EQ(parser.Push("</think>Hi\n").content, "Hi");
  EXPECT_TRUE(parser.reasoning_closed());
  EXPECT_EQ(parser.Push("\n\n").content, "\n");
  EXPECT_EQ(parser.Push("b").content, "\n\nb");
  EXPECT_TRUE(parser.Push(Block("").substr(0, 20)).empty());
  const ChatDelta delta = parser.Push(Block(Invoke("f", "")).substr(20) + kEnd);
  ASSERT_EQ(delta.tool_calls.size(), 1u);
  EXPECT_TRUE(parser.ended());
  EXPECT_TRUE(parser.Push("more").empty());
  EXPECT_TRUE(parser.Finish().empty());
}

TEST(StreamParser, R1OpensItsReasoningItself) {
  for (const ThinkingMode mode : {kChat, kThinking}) {
    StreamParser parser(ChatFormat::kR1, mode);
    EXPECT_TRUE(parser.Push("<thi").empty());
    EXPECT_EQ(parser.Push("nk>\nr").reasoning, "\nr");
    EXPECT_EQ(parser.Push("</think>a").content, "a");
  }
  StreamParser plain(ChatFormat::kR1, kChat);
  EXPECT_EQ(plain.Push("<thin ice").content, "<thin ice");
}

// A megabyte of what looks like the start of something, byte by byte.
TEST(StreamParser, TakesTimeInProportionToTheText) {
  const std::string
      tag = "</｜DSML｜invoke",
      value =
          "\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"x\" string=\"true\">";
  for (const std::string& head : {std::string(), value})
    for (const std::string_view unit : {std::string_view("\n"), std::string_view("<"), std::string_view(tag),
                                        std::string_view("</｜DSML｜parameter><")}) {
      StreamParser parser(ChatFormat::kV32, kChat);
      parser.Push(head);
      std::string text;
      while (text.size() < (1 << 20)) text += unit;
      const auto start = std::chrono::steady_clock::now();
      for (char c : text) parser.Push({&c, 1});
      parser.Finish();
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      EXPECT_LT(seconds.count(), 10.0) << unit;
    }
}

}  // namespace
}  // namespace minke
