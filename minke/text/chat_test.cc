#include "minke/text/chat.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <sstream>

namespace minke {
namespace {

PromptJson Golden(const std::string& name) {
  std::ifstream in(std::string(MINKE_TEST_DATA) + "/golden/chat/" + name);
  std::stringstream text;
  text << in.rdbuf();
  auto json = PromptJson::Parse(text.str(), name);
  EXPECT_TRUE(json.has_value()) << (json ? "" : json.error().message);
  return json ? *json : PromptJson();
}

std::vector<Message> Messages(std::string_view json) {
  auto messages = MessagesFromJson(*PromptJson::Parse(json, "test"));
  EXPECT_TRUE(messages.has_value()) << (messages ? "" : messages.error().message);
  return messages ? *messages : std::vector<Message>();
}

// One golden case of encode.json: the prompt, or the error.
Result<std::string> EncodeCase(const PromptJson& test) {
  MINKE_ASSIGN(const std::vector<Message> messages, MessagesFromJson(*test.Find("messages")));
  EncodeOptions options;
  MINKE_ASSIGN(options.thinking_mode, ParseThinkingMode(test.Find("thinking_mode")->text()));
  std::vector<Message> context;
  if (const PromptJson* more = test.Find("options")->Find("context")) {
    MINKE_ASSIGN(context, MessagesFromJson(*more));
  }
  options.context = context;
  if (const PromptJson* bos = test.Find("options")->Find("add_default_bos_token"))
    options.add_default_bos_token = bos->boolean();
  return EncodeChat(ChatFormat::kV32, messages, options);
}

TEST(Chat, EveryGoldenPromptOfV32) {
  int prompts = 0, errors = 0, undefined = 0;
  const PromptJson cases = Golden("encode.json");
  for (const PromptJson& test : cases.items()) {
    const std::string& name = test.Find("name")->text();
    const auto prompt = EncodeCase(test);
    if (test.Find("error")) {
      EXPECT_FALSE(prompt.has_value()) << name;
      EXPECT_TRUE(prompt || prompt.error().code == Code::kInvalidArgument) << name;
      ++errors;
    } else if (test.Find("undefined")) {
      EXPECT_TRUE(prompt.has_value()) << name;
      ++undefined;
    } else {
      ASSERT_TRUE(prompt.has_value()) << name << ": " << prompt.error().message;
      EXPECT_EQ(*prompt, test.Find("prompt")->text()) << name;
      ++prompts;
    }
  }
  EXPECT_EQ(prompts, 24);
  EXPECT_EQ(errors, 4);
  EXPECT_EQ(undefined, 2);
}

TEST(Chat, EveryGoldenPromptOfV3AndR1) {
  const PromptJson cases = Golden("encode_v3_r1.json");
  EXPECT_EQ(cases.items().size(), 16u);
  for (const PromptJson& test : cases.items()) {
    EncodeOptions options;
    options.add_generation_prompt = test.Find("add_generation_prompt")->boolean();
    const auto prompt =
        EncodeChat(*ParseChatFormat(test.Find("template")->text()), *MessagesFromJson(*test.Find("messages")), options);
    ASSERT_TRUE(prompt.has_value()) << prompt.error().message;
    EXPECT_EQ(*prompt, test.Find("prompt")->text())
        << test.Find("name")->text() << " " << test.Find("template")->text();
  }
}

TEST(Chat, ADeveloperMessageBeforeTheLastIsKeptAndDoesNotThink) {
  const auto prompt = EncodeChat(ChatFormat::kV32, Messages(R"([{"role": "developer", "content": "old"},
      {"role": "assistant", "content": "done", "reasoning_content": "r"}, {"role": "developer", "content": "new"}])"),
                                 {.thinking_mode = ThinkingMode::kThinking});
  EXPECT_EQ(prompt,
            "<｜begin▁of▁sentence｜><｜User｜>\n\n# The user's message is: old<｜Assistant｜></think>done"
            "<｜end▁of▁sentence｜><｜User｜>\n\n# The user's message is: new<｜Assistant｜><think>");
}

// A prefix cache may reuse a prompt whenever the turn only grew.
TEST(Chat, ATurnThatGrowsKeepsItsPrefix) {
  const auto all = Messages(R"([{"role": "system", "content": "s"}, {"role": "user", "content": "go"},
      {"role": "assistant", "content": "a", "reasoning_content": "r1", "tool_calls": [
        {"function": {"name": "f", "arguments": "{\"x\": 1}"}}, {"function": {"name": "g", "arguments": {"y": [true]}}}]},
      {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"},
      {"role": "assistant", "content": null, "reasoning": "r2", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
      {"role": "tool", "content": "3"}, {"role": "assistant", "content": "done", "reasoning_content": "r3"}])");
  ASSERT_EQ(all.size(), 8u);
  for (const ThinkingMode mode : {ThinkingMode::kChat, ThinkingMode::kThinking}) {
    std::string before;
    for (size_t n = 2; n <= all.size(); ++n) {
      const auto prompt = EncodeChat(ChatFormat::kV32, std::span(all).first(n), {.thinking_mode = mode});
      ASSERT_TRUE(prompt.has_value()) << prompt.error().message;
      EXPECT_TRUE(prompt->starts_with(before)) << n;
      before = *prompt;
    }
  }
}

// What is already in the model's cache and what is encoded after it give the whole.
TEST(Chat, ContextAndRestMakeTheWhole) {
  const auto all = Messages(R"([{"role": "user", "content": "go"},
      {"role": "assistant", "content": "a", "reasoning_content": "r1", "tool_calls": [
        {"function": {"name": "f", "arguments": "{}"}}, {"function": {"name": "g", "arguments": "{}"}}]},
      {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"},
      {"role": "assistant", "content": "done", "reasoning_content": "r3"}])");
  const auto whole = EncodeChat(ChatFormat::kV32, all, {.thinking_mode = ThinkingMode::kThinking});
  for (size_t n = 1; n < all.size(); ++n) {
    EncodeOptions options{.thinking_mode = ThinkingMode::kThinking};
    std::string joined = *EncodeChat(ChatFormat::kV32, std::span(all).first(n), options);
    options.context = std::span(all).first(n);
    joined += *EncodeChat(ChatFormat::kV32, std::span(all).subspan(n), options);
    EXPECT_EQ(joined, whole) << n;
  }
}

void ExpectRefused(std::string_view json, std::string_view part, ChatFormat format = ChatFormat::kV32) {
  auto list = PromptJson::Parse(json, "test");
  ASSERT_TRUE(list.has_value()) << list.error().message;
  Result<std::string> prompt = "";
  if (auto messages = MessagesFromJson(*list)) {
    prompt = EncodeChat(format, *messages, {.thinking_mode = ThinkingMode::kThinking});
  } else {
    prompt = Fail(messages.error());
  }
  ASSERT_FALSE(prompt.has_value()) << json;
  EXPECT_EQ(prompt.error().code, Code::kInvalidArgument);
  EXPECT_NE(prompt.error().message.find(part), std::string::npos) << prompt.error().message;
}

TEST(Chat, RefusesAndNamesTheMessage) {
  ExpectRefused(R"({"role": "user"})", "messages is not a list");
  ExpectRefused(R"([{"role": "user", "content": "x"}, 5])", "messages[1]");
  ExpectRefused(R"([{"content": "x"}])", "messages[0] has no role");
  ExpectRefused(R"([{"role": "king", "content": "x"}])", "\"king\"");
  ExpectRefused(R"([{"role": "user", "content": 5}])", "messages[0].content");
  ExpectRefused(R"([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}])", "not text");
  ExpectRefused(R"([{"role": "user", "content": "x", "tool_calls": {}}])", "tool_calls");
  ExpectRefused(R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}])",
                "tool_calls[0].function.arguments");
  ExpectRefused(R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{oops"}}]}])",
                "not valid JSON");
  ExpectRefused(R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}])",
                "not an object");
  ExpectRefused(R"([{"role": "system", "tools": [{"type": "function"}]}])", "tools[0]");
  ExpectRefused(R"([{"role": "user", "content": "x", "tools": [{"function": {"name": "f"}}]}])",
                "messages[0]: tools have no place on a user message");
  ExpectRefused(R"([{"role": "user", "content": "x", "response_format": {"type": "object"}}])",
                "messages[0]: a response format has no place on a user message");
  ExpectRefused(R"([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y",
                    "tools": [{"function": {"name": "f"}}]}])",
                "messages[1]: tools have no place on an assistant message");
  ExpectRefused(R"([{"role": "user", "content": "x", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}])",
                "messages[0]: tool_calls have no place on a user message");
  ExpectRefused(R"([{"role": "tool", "content": "x"}])", "tool result");
  ExpectRefused(
      R"([{"role": "assistant", "reasoning_content": "r", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
      {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}])",
      "messages[2]: result 2 of 1");
  ExpectRefused(R"([{"role": "developer", "content": "x"}])", "no place", ChatFormat::kR1);
  ExpectRefused(R"([{"role": "system", "content": "x", "tools": [{"function": {"name": "f"}}]}])", "cannot show tools",
                ChatFormat::kV3);
}

TEST(Chat, ContentPartsAreJoinedAndNullIsEmpty) {
  const auto messages =
      Messages(R"([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                                     {"role": "user", "content": null}])");
  EXPECT_EQ(messages[0].content, "ab");
  EXPECT_EQ(messages[1].content, "");
}

TEST(Chat, WrittenMessagesReadBackWhole) {
  const std::string json =
      R"([{"role": "system", "content": "s", "tools": [{"type": "function", "function": {"name": "f", "n": 1e3}}], )"
      R"("response_format": {"type": "object", "big": 123456789012345678901234567890}}, )"
      R"({"role": "user", "content": "\"猫\"\n\u0001"}, )"
      R"({"role": "assistant", "content": "", "reasoning_content": "r", "tool_calls": )"
      R"([{"type": "function", "id": "call_1", "function": {"name": "f", "arguments": "{\"x\": [1]}"}}, )"
      R"({"type": "function", "function": {"name": "g", "arguments": "not JSON"}}]}, )"
      R"({"role": "tool", "content": "1", "tool_call_id": "call_1"}])";
  const auto messages = Messages(json);
  const std::string written = MessagesToJson(messages);
  EXPECT_EQ(written, std::string(json).replace(json.find("1e3"), 3, "1000.0"));
  const auto again = Messages(written);
  ASSERT_EQ(again.size(), messages.size());
  EXPECT_EQ(again[2].tool_calls, messages[2].tool_calls);
  EXPECT_EQ(again[2].reasoning_content, "r");
  EXPECT_EQ(again[3].tool_call_id, "call_1");
  EXPECT_EQ(MessagesToJson(again), written);
  EXPECT_EQ(MessagesToJson(std::vector<Message>{{.role = "user", .content = "\xff"}}),
            "[{\"role\": \"user\", \"content\": \"\uFFFD\"}]");
  EXPECT_EQ(MessagesToJson({}), "[]");
}

TEST(Chat, AnAnswerHasAllItsFields) {
  EXPECT_EQ(AnswerToJson({.role = "assistant"}),
            R"({"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": []})");
  const Message full{.role = "assistant",
                     .content = "c",
                     .reasoning_content = "\xff",
                     .tool_calls = {{.name = "f", .arguments = "{}"}}};
  EXPECT_EQ(AnswerToJson(full),
            R"({"role": "assistant", "content": "c", "reasoning_content": "�", )"
            R"("tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]})");
}

TEST(Chat, ToolsGoOnTheFirstSystemMessage) {
  const auto tools =
      *ToolsFromJson(*PromptJson::Parse(R"([{"type": "function", "function": {"name": "f"}}])", ""), "tools");
  auto with = Messages(R"([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])");
  AttachTools(with, tools);
  EXPECT_EQ(with.size(), 2u);
  EXPECT_EQ(with[0].tools.size(), 1u);
  auto without = Messages(R"([{"role": "user", "content": "u"}])");
  AttachTools(without, tools);
  EXPECT_EQ(without.size(), 2u);
  EXPECT_EQ(without[0].role, "system");
  AttachTools(without, {});
  EXPECT_EQ(without[0].tools.size(), 1u);
}

TEST(Chat, V31ThinksOrNotByTheFirstWords) {
  const auto messages = Messages(R"([{"role": "system", "content": "S"}, {"role": "user", "content": "1"},
      {"role": "assistant", "content": "<think>x</think>2"}, {"role": "user", "content": "3"}])");
  const std::string common =
      "<｜begin▁of▁sentence｜>S<｜User｜>1<｜Assistant｜></think>2<｜end▁of▁sentence｜><｜User｜>3<｜Assistant｜>";
  EXPECT_EQ(EncodeChat(ChatFormat::kV31, messages, {.thinking_mode = ThinkingMode::kThinking}), common + "<think>");
  EXPECT_EQ(EncodeChat(ChatFormat::kV31, messages, {}), common + "</think>");
}

TEST(Chat, V31ToolLoop) {
  const auto messages = Messages(R"([{"role": "system", "content": "S", "tools": [{"function":
        {"name": "f", "description": "D", "parameters": {"type": "object"}}}]}, {"role": "user", "content": "1"},
      {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\":1}"}},
        {"function": {"name": "g", "arguments": "{}"}}]},
      {"role": "tool", "content": "r"}, {"role": "tool", "content": "q"}, {"role": "assistant", "content": "done"}])");
  const std::string prompt = *EncodeChat(ChatFormat::kV31, messages, {});
  EXPECT_TRUE(
      prompt.starts_with("<｜begin▁of▁sentence｜>S\n\n## Tools\nYou have access to the following tools:\n\n### f\n"
                         "Description: D\n\nParameters: {\"type\": \"object\"}\n"))
      << prompt;
  EXPECT_TRUE(prompt.ends_with(
      "<｜User｜>1<｜Assistant｜></"
      "think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\":1}<｜tool▁call▁end｜>"
      "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>"
      "<｜tool▁output▁begin｜>r<｜tool▁output▁end｜><｜tool▁output▁begin｜>q<｜tool▁output▁end｜>done<"
      "｜end▁of▁sentence｜>"))
      << prompt;
}

// A group of tool results finds its caller once, not once a result.
TEST(Chat, ManyToolResultsTakeLinearTime) {
  constexpr size_t kCalls = 60000;
  std::vector<Message> messages(2 + kCalls);
  messages[0] = {.role = "user", .content = "go"};
  messages[1].role = "assistant";
  messages[1].tool_calls.assign(kCalls, {.name = "f", .arguments = "{}"});
  for (size_t i = 2; i < messages.size(); ++i) messages[i] = {.role = "tool", .content = "r"};
  const auto begin = std::chrono::steady_clock::now();
  const auto prompt = EncodeChat(ChatFormat::kV32, messages, {.thinking_mode = ThinkingMode::kThinking});
  ASSERT_TRUE(prompt) << prompt.error().message;
  EXPECT_TRUE(prompt->ends_with("</function_results>\n\n<think>"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));  // was 25 s, is well under 1 s
}

}  // namespace
}  // namespace minke
