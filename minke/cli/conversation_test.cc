#include "minke/cli/conversation.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

namespace minke {
namespace {

Message Make(const std::string& role, const std::string& content, const std::string& reasoning = "") {
  Message message;
  message.role = role, message.content = content, message.reasoning_content = reasoning;
  return message;
}

TEST(Conversation, WhatIsSavedComesBack) {
  Conversation saved("Be brief.");
  saved.Add(Make("user", "Wie geht's? \"猫\"\n\x01"));
  saved.Add(Make("assistant", "gut", "hm"));
  const std::string path = testing::TempDir() + "/chat_" + std::to_string(::getpid()) + ".json";
  ASSERT_TRUE(saved.Save(path));
  Conversation loaded("");
  const Status status = loaded.Load(path);
  ASSERT_TRUE(status) << status.error().message;
  std::filesystem::remove(path);
  EXPECT_EQ(loaded.ToJson(), saved.ToJson());
  EXPECT_EQ(loaded.system(), "Be brief.");
  ASSERT_EQ(loaded.Messages().size(), 3u);
  EXPECT_EQ(loaded.Messages()[2].reasoning_content, "hm");
}

TEST(Conversation, ToolsAndCallsComeBack) {
  const std::string file =
      R"({"version": 1, "messages": [{"role": "system", "content": "s", "tools": )"
      R"([{"type": "function", "function": {"name": "f"}}], "response_format": {"type": "object"}}, )"
      R"({"role": "user", "content": "u"}, {"role": "assistant", "content": "", "tool_calls": )"
      R"([{"type": "function", "id": "c1", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]}]})"
      "\n";
  Conversation chat("old");
  const Status status = chat.FromJson(file, "f");
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(chat.ToJson(), file);
  ASSERT_EQ(chat.Messages().size(), 3u);
  EXPECT_EQ(chat.Messages()[2].tool_calls[0].arguments, "{\"x\": 1}");
  EXPECT_EQ(chat.Messages()[0].tools.size(), 1u);
}

TEST(Conversation, ABadFileChangesNothing) {
  Conversation chat("keep");
  chat.Add(Make("user", "one"));
  for (const char* bad :
       {"", "{", "[]", "{}", R"({"messages": 3})", R"({"messages": [{"role": "tool", "content": "x"}]})",
        R"({"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "late"}]})"}) {
    EXPECT_FALSE(chat.FromJson(bad, "f")) << bad;
    EXPECT_EQ(chat.system(), "keep");
    EXPECT_EQ(chat.size(), 1u);
  }
  EXPECT_EQ(chat.Load("/no/such/file").error().code, Code::kNotFound);
}

TEST(Conversation, LinesAreCommandsOrText) {
  EXPECT_EQ(ParseChatLine("/save  my file ").command, "/save");
  EXPECT_EQ(ParseChatLine("/save  my file ").text, "my file");
  EXPECT_EQ(ParseChatLine("/quit").command, "/quit");
  EXPECT_EQ(ParseChatLine("//etc/passwd").text, "/etc/passwd");
  EXPECT_EQ(ParseChatLine("//etc/passwd").command, "");
  EXPECT_EQ(ParseChatLine(" /x").text, " /x");
}

}  // namespace
}  // namespace minke
