// Puts the parameters of a V3.2 call together as the JSON text of an object. Private to the room.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>

#include "minke/text/prompt_json.h"

namespace minke {

class Arguments {
 public:
  // False if the name is there already. `json`: the value as JSON text; not checked.
  bool Add(std::string_view name, std::string_view json) {
    if (!names_.emplace(name).second) return false;
    text_ += names_.size() == 1 ? "" : ", ";
    AppendJsonString(text_, name);
    text_.append(": ").append(json);
    return true;
  }
  bool AddString(std::string_view name, std::string_view value) {
    std::string json;
    AppendJsonString(json, value);
    return Add(name, json);
  }
  std::string Text() const { return text_ + "}"; }

 private:
  std::string text_ = "{";
  std::unordered_set<std::string> names_;
};

}  // namespace minke
