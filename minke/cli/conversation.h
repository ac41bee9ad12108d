// The messages of a chat: what `minke chat` sends, saves and loads. Knows neither terminals nor models.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/text/chat.h"

namespace minke {

class Conversation {
 public:
  explicit Conversation(std::string system) : system_{.role = "system", .content = std::move(system)} {}

  void Reset() { turns_.clear(); }                                         // the system text stays
  void SetSystem(std::string text) { system_.content = std::move(text); }  // tools of a loaded file stay
  const std::string& system() const { return system_.content; }

  void Add(Message message) { turns_.push_back(std::move(message)); }
  void DropLast() { turns_.pop_back(); }
  size_t size() const { return turns_.size(); }
  std::vector<Message> Messages() const;  // the system message first, if it says anything

  // {"version": 1, "messages": [...]}, the messages whole and in the form of the API; written atomically.
  Status Save(const std::string& path) const;
  // Errors (the conversation stays as it was): kNotFound, kInvalidArgument for what Save did not write.
  Status Load(const std::string& path);
  std::string ToJson() const;
  Status FromJson(std::string_view text, std::string_view where);

 private:
  Message system_;
  std::vector<Message> turns_;  // user and assistant
};

// A line a person typed: "/verb rest", or text ("//x" is the text "/x").
struct ChatLine {
  std::string command;  // "" for text
  std::string text;     // or the command's argument
};
ChatLine ParseChatLine(std::string_view line);

}  // namespace minke
