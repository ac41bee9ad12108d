// Typed reading of one JSON object of config.json. The first problem is kept and later reads return defaults, so
// that a configuration reads as a list of fields; the caller asks status() once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/json.h"
#include "minke/base/result.h"

namespace minke {

// A text from the file as a message may show it: in quotes, escaped, not endless.
std::string Quoted(std::string_view text);

class ConfigFields {
 public:
  // `where` names the object in messages: a path, or "path: rope_scaling".
  ConfigFields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  // Null if absent or null.
  const Json* Find(std::string_view name) const;
  // True when the key is there with the value null, which differs from absent for q_lora_rank.
  bool IsNull(std::string_view name) const;

  int64_t Int(std::string_view name, int64_t absent, int64_t min, int64_t max);
  // The same under any of several names; they must agree.
  int64_t Int(std::initializer_list<std::string_view> names, int64_t absent, int64_t min, int64_t max);
  int64_t RequiredInt(std::string_view name, int64_t min, int64_t max);
  double Number(std::string_view name, double absent, double min, double max);
  double RequiredNumber(std::string_view name, double min, double max);
  bool Bool(std::string_view name, bool absent);
  std::string String(std::string_view name, std::string absent);
  std::vector<std::string> Strings(std::string_view name);                     // empty if absent
  std::vector<int64_t> Ints(std::string_view name, int64_t min, int64_t max);  // a list, or one number

  // Records a problem unless there is one already.
  template <class... Args>
  void Refuse(Code code, std::string_view name, fmt::format_string<Args...> format, Args&&... args) {
    if (!status_) return;
    status_ = Fail(code, "{}: {}: {}", where_, name, fmt::format(format, std::forward<Args>(args)...));
  }
  void Require(const Status& status) {
    if (status_ && !status) status_ = status;
  }
  const Status& status() const { return status_; }
  const std::string& where() const { return where_; }

 private:
  int64_t IntOf(const Json& value, std::string_view name, int64_t absent, int64_t min, int64_t max);
  void WrongType(std::string_view name, const Json& value, const char* expected);

  const Json& object_;
  std::string where_;
  Status status_;
};

}  // namespace minke
