#include "minke/cli/conversation.h"

#include "minke/base/file.h"

namespace minke {

std::vector<Message> Conversation::Messages() const {
  std::vector<Message> messages;
  if (!system_.content.empty() || !system_.tools.empty() || system_.response_format) messages.push_back(system_);
  messages.insert(messages.end(), turns_.begin(), turns_.end());
  return messages;
}

std::string Conversation::ToJson() const {
  return "{\"version\": 1, \"messages\": " + MessagesToJson(Messages()) + "}\n";
}

Status Conversation::FromJson(std::string_view text, std::string_view where) {
  MINKE_ASSIGN(const PromptJson json, PromptJson::Parse(text, where));
  const PromptJson* list = json.Find("messages");
  if (!list) return Fail(Code::kInvalidArgument, "{}: no list \"messages\": expected a file that /save wrote", where);
  auto messages = MessagesFromJson(*list);
  if (!messages) return Fail(Code::kInvalidArgument, "{}: {}", where, messages.error().message);
  Message system{.role = "system"};
  std::vector<Message> turns;
  for (Message& message : *messages) {
    if (message.role == "system" && turns.empty()) {  // several are shown as one
      system.content += message.content;
      system.tools.insert(system.tools.end(), message.tools.begin(), message.tools.end());
      if (message.response_format && system.response_format)
        return Fail(Code::kInvalidArgument, "{}: two response formats: expected one", where);
      if (message.response_format) system.response_format = std::move(message.response_format);
    } else if (message.role == "user" || message.role == "assistant") {
      turns.push_back(std::move(message));
    } else {
      return Fail(Code::kInvalidArgument, "{}: role {} has no place in a chat: expected system, user, assistant", where,
                  message.role);
    }
  }
  system_ = std::move(system);
  turns_ = std::move(turns);
  return {};
}

Status Conversation::Save(const std::string& path) const {
  const std::string json = ToJson();
  return WriteFileAtomic(path, std::as_bytes(std::span<const char>(json.data(), json.size())));
}

Status Conversation::Load(const std::string& path) {
  MINKE_ASSIGN(const std::string text, ReadFile(path, int64_t{256} << 20));
  return FromJson(text, path);
}

ChatLine ParseChatLine(std::string_view line) {
  if (!line.starts_with('/')) return {"", std::string(line)};
  if (line.starts_with("//")) return {"", std::string(line.substr(1))};
  const size_t space = line.find(' ');
  ChatLine parsed{std::string(line.substr(0, space)), ""};
  if (space == line.npos) return parsed;
  const size_t begin = line.find_first_not_of(' ', space);
  const size_t end = line.find_last_not_of(' ');
  if (begin != line.npos) parsed.text = line.substr(begin, end - begin + 1);
  return parsed;
}

}  // namespace minke
