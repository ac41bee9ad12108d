#include "minke/model/config_fields.h"

#include <limits>

namespace minke {
namespace {

// A value as a message may show it: one short line.
std::string Shown(const Json& value) {
  constexpr size_t kMaxBytes = 60;
  std::string text = value.is_object() ? "an object" : value.is_array() ? "a list" : DumpJson(value);
  if (text.size() <= kMaxBytes) return text;
  text.resize(kMaxBytes);
  while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0x80)) text.pop_back();
  return text + "...";
}

}  // namespace

std::string Quoted(std::string_view text) { return Shown(Json(text)); }

const Json* ConfigFields::Find(std::string_view name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool ConfigFields::IsNull(std::string_view name) const {
  const auto found = object_.find(name);
  return found != object_.end() && found->is_null();
}

void ConfigFields::WrongType(std::string_view name, const Json& value, const char* expected) {
  Refuse(Code::kDamaged, name, "is {}, expected {}", Shown(value), expected);
}

int64_t ConfigFields::IntOf(const Json& value, std::string_view name, int64_t absent, int64_t min, int64_t max) {
  if (!value.is_number_integer()) {  // 64.0 and true are not integers
    WrongType(name, value, "an integer");
    return absent;
  }
  const bool too_large = value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(max);
  const int64_t number = too_large ? max : value.get<int64_t>();
  if (too_large || number < min || number > max) {
    Refuse(Code::kDamaged, name, "is {}, expected {} to {}", Shown(value), min, max);
    return absent;
  }
  return number;
}

int64_t ConfigFields::Int(std::string_view name, int64_t absent, int64_t min, int64_t max) {
  const Json* value = Find(name);
  return value ? IntOf(*value, name, absent, min, max) : absent;
}

int64_t ConfigFields::Int(std::initializer_list<std::string_view> names, int64_t absent, int64_t min, int64_t max) {
  std::optional<int64_t> result;
  std::string_view first;
  for (const std::string_view name : names) {
    const Json* value = Find(name);
    if (!value) continue;
    const int64_t number = IntOf(*value, name, absent, min, max);
    if (!result) {
      result = number, first = name;
    } else if (*result != number) {
      Refuse(Code::kDamaged, name, "is {}, but {} is {}", number, first, *result);
    }
  }
  return result.value_or(absent);
}

int64_t ConfigFields::RequiredInt(std::string_view name, int64_t min, int64_t max) {
  if (!Find(name)) Refuse(Code::kDamaged, name, "is missing");
  return Int(name, min, min, max);
}

double ConfigFields::Number(std::string_view name, double absent, double min, double max) {
  const Json* value = Find(name);
  if (!value) return absent;
  if (!value->is_number()) {
    WrongType(name, *value, "a number");
    return absent;
  }
  const double number = value->get<double>();
  if (!(number >= min && number <= max)) {
    Refuse(Code::kDamaged, name, "is {}, expected {} to {}", Shown(*value), min, max);
    return absent;
  }
  return number;
}

double ConfigFields::RequiredNumber(std::string_view name, double min, double max) {
  if (!Find(name)) Refuse(Code::kDamaged, name, "is missing");
  return Number(name, min, min, max);
}

bool ConfigFields::Bool(std::string_view name, bool absent) {
  const Json* value = Find(name);
  if (!value) return absent;
  if (value->is_boolean()) return value->get<bool>();
  WrongType(name, *value, "true or false");
  return absent;
}

std::string ConfigFields::String(std::string_view name, std::string absent) {
  const Json* value = Find(name);
  if (!value) return absent;
  if (value->is_string()) return value->get_ref<const std::string&>();
  WrongType(name, *value, "a string");
  return absent;
}

std::vector<std::string> ConfigFields::Strings(std::string_view name) {
  const Json* value = Find(name);
  if (!value) return {};
  std::vector<std::string> texts;
  if (!value->is_array()) {
    WrongType(name, *value, "a list of strings");
    return {};
  }
  for (const Json& item : *value) {
    if (!item.is_string()) {
      WrongType(name, item, "strings in the list");
      return {};
    }
    texts.push_back(item.get_ref<const std::string&>());
  }
  return texts;
}

std::vector<int64_t> ConfigFields::Ints(std::string_view name, int64_t min, int64_t max) {
  const Json* value = Find(name);
  if (!value) return {};
  std::vector<int64_t> numbers;
  if (!value->is_array()) return {IntOf(*value, name, min, min, max)};
  for (const Json& item : *value) numbers.push_back(IntOf(item, name, min, min, max));
  return numbers;
}

}  // namespace minke
