// JSON as a prompt shows it: what Python's json.dumps(json.loads(text), ensure_ascii=False) prints, byte for byte.
// A general JSON value cannot do this: integers of any size keep their digits here, keys their order.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "minke/base/result.h"

namespace minke {

class PromptJson {
 public:
  using Member = std::pair<std::string, PromptJson>;

  static constexpr int kMaxDepth = 64;
  static constexpr int kMaxValues = 1'000'000;
  // `where` starts the message. Errors: kInvalidArgument for text that is not one JSON value (NaN, lone surrogates and
  // raw control characters are not), nests deeper than max_depth or has more than kMaxValues. A repeated key keeps its
  // place and takes the last value.
  static Result<PromptJson> Parse(std::string_view text, std::string_view where, int max_depth = kMaxDepth);

  bool is_null() const { return kind_ == Kind::kNull; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_array() const { return kind_ == Kind::kArray; }
  bool is_object() const { return kind_ == Kind::kObject; }
  bool is_bool() const { return kind_ == Kind::kBool; }
  bool boolean() const { return scalar_ == "true"; }
  const std::string& text() const { return scalar_; }  // a string's characters, or how any other scalar is printed
  const std::vector<PromptJson>& items() const { return items_; }  // of an array
  const std::vector<Member>& members() const { return members_; }  // of an object
  const PromptJson* Find(std::string_view key) const;              // nullptr if absent or not an object

  std::string Dump() const;
  void AppendTo(std::string& out) const;

 private:
  friend class PromptJsonParser;
  enum class Kind { kNull, kBool, kNumber, kString, kArray, kObject };
  Kind kind_ = Kind::kNull;
  std::string scalar_ = "null";
  std::vector<PromptJson> items_;
  std::vector<Member> members_;
};

// "text" in quotes, escaped as above.
void AppendJsonString(std::string& out, std::string_view text);

// A number of JSON with a fraction or an exponent, printed as Python prints the double it reads as.
std::string PythonFloat(std::string_view number);

}  // namespace minke
