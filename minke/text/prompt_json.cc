#include "minke/text/prompt_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <unordered_map>

#include "minke/text/utf8.h"

namespace minke {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Whether a decimal number outside double's range is too large rather than too small: the place of its first digit
// that is not zero, against the exponent.
bool Overflows(std::string_view number) {
  const size_t e = number.find_first_of("eE");
  std::string_view mantissa = number.substr(0, e);
  if (mantissa.starts_with('-')) mantissa.remove_prefix(1);
  const size_t first = mantissa.find_first_of("123456789");
  if (first == std::string_view::npos) return false;
  const size_t point = std::min(mantissa.find('.'), mantissa.size());
  if (e == std::string_view::npos) return first < point;
  std::string_view exponent = number.substr(e + 1);
  const bool negative = exponent.starts_with('-');
  if (exponent.starts_with('-') || exponent.starts_with('+')) exponent.remove_prefix(1);
  int64_t value = 0;
  if (std::from_chars(exponent.data(), exponent.data() + exponent.size(), value).ec != std::errc())
    return !negative;  // more digits than 64 bits hold
  const int64_t place = first < point ? static_cast<int64_t>(point - first) : -static_cast<int64_t>(first - point);
  return (negative ? -value : value) > -place;
}

}  // namespace

std::string PythonFloat(std::string_view number) {
  double value = 0;
  const auto [stop, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error == std::errc::result_out_of_range) {
    const bool negative = number.starts_with('-');
    if (Overflows(number)) return negative ? "-Infinity" : "Infinity";
    return negative ? "-0.0" : "0.0";
  }
  // Shortest digits that read back equal, as d.ddde[+-]xx.
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, end);
  const size_t e = text.find('e');
  const std::string sign = text.starts_with('-') ? "-" : "";
  std::string digits;
  for (char c : text.substr(0, e))
    if (IsDigit(c)) digits += c;
  int exponent = 0;
  std::from_chars(text.data() + e + (text[e + 1] == '+' ? 2 : 1), end, exponent);
  if (exponent < -4 || exponent >= 16) {
    const std::string fraction = digits.size() > 1 ? "." + digits.substr(1) : "";
    return fmt::format("{}{}{}e{}{:02}", sign, digits[0], fraction, exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return sign + "0." + std::string(-exponent - 1, '0') + digits;
  const size_t whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() < whole) digits.append(whole - digits.size(), '0');
  return sign + digits.substr(0, whole) + "." + (digits.size() > whole ? digits.substr(whole) : "0");
}

void AppendJsonString(std::string& out, std::string_view text) {
  out += '"';
  size_t plain = 0;  // start of what can be copied as it is
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text.substr(plain, i - plain));
    plain = i + 1;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
    }
  }
  out.append(text.substr(plain));
  out += '"';
}

// Recursive descent; the depth is counted, so no text can use up the stack.
class PromptJsonParser {
 public:
  PromptJsonParser(std::string_view text, std::string_view where, int max_depth)
      : text_(text), where_(where), max_depth_(max_depth) {}

  Result<PromptJson> Whole() {
    PromptJson value;
    MINKE_TRY(Value(value, 0));
    Space();
    if (pos_ != text_.size()) return Wrong("something after the value");
    return value;
  }

 private:
  tl::unexpected<Error> Wrong(std::string_view what) const {
    return Fail(Code::kInvalidArgument, "{}: not valid JSON: {} at byte {}", where_, what, pos_);
  }
  void Space() {
    while (pos_ < text_.size() && std::string_view(" \t\n\r").find(text_[pos_]) != std::string_view::npos) ++pos_;
  }
  bool Take(char c) {
    if (pos_ == text_.size() || text_[pos_] != c) return false;
    ++pos_;
    return true;
  }

  Status Value(PromptJson& out, int depth) {
    if (++num_values_ > PromptJson::kMaxValues) return Wrong("too many values");
    Space();
    if (pos_ == text_.size()) return Wrong("a value is missing");
    switch (text_[pos_]) {
      case '{':
        return Object(out, depth + 1);
      case '[':
        return Array(out, depth + 1);
      case '"':
        out.kind_ = PromptJson::Kind::kString;
        return String(out.scalar_);
      case 't':
        return Word(out, "true", PromptJson::Kind::kBool);
      case 'f':
        return Word(out, "false", PromptJson::Kind::kBool);
      case 'n':
        return Word(out, "null", PromptJson::Kind::kNull);
      default:
        return Number(out);
    }
  }

  Status Word(PromptJson& out, std::string_view word, PromptJson::Kind kind) {
    if (!text_.substr(pos_).starts_with(word)) return Wrong("an unknown word");
    pos_ += word.size();
    out.kind_ = kind;
    out.scalar_ = word;
    return {};
  }

  Status Number(PromptJson& out) {
    const size_t begin = pos_;
    const auto digits = [&] {
      const size_t first = pos_;
      while (pos_ < text_.size() && IsDigit(text_[pos_])) ++pos_;
      return pos_ > first;
    };
    const bool negative = Take('-');
    const size_t whole = pos_;
    if (!digits()) return Wrong("an unexpected character");
    if (text_[whole] == '0' && pos_ > whole + 1) return Wrong("a number with a leading zero");
    bool integer = true;
    if (Take('.')) {
      integer = false;
      if (!digits()) return Wrong("a number without digits after the point");
    }
    if (pos_ < text_.size() && (text_[pos_] | 0x20) == 'e') {
      ++pos_;
      integer = false;
      if (!Take('-')) Take('+');
      if (!digits()) return Wrong("a number without digits in the exponent");
    }
    const std::string_view number = text_.substr(begin, pos_ - begin);
    out.kind_ = PromptJson::Kind::kNumber;
    out.scalar_ = !integer ? PythonFloat(number) : negative && number == "-0" ? "0" : std::string(number);
    return {};
  }

  Status String(std::string& out) {
    out.clear();
    ++pos_;
    for (;;) {
      const size_t begin = pos_;
      while (pos_ < text_.size() && text_[pos_] != '"' && text_[pos_] != '\\' &&
             static_cast<uint8_t>(text_[pos_]) >= 0x20) {
        const Utf8Char c = DecodeUtf8(text_.substr(pos_));
        if (!c.valid) return Wrong("broken UTF-8");
        pos_ += c.size;
      }
      out += text_.substr(begin, pos_ - begin);
      if (pos_ == text_.size()) return Wrong("a string without its end");
      if (Take('"')) return {};
      if (!Take('\\')) return Wrong("a control character in a string");
      MINKE_TRY(Escape(out));
    }
  }

  Status Escape(std::string& out) {
    constexpr std::string_view kFrom = "\"\\/bfnrt", kTo = "\"\\/\b\f\n\r\t";
    if (pos_ == text_.size()) return Wrong("a string without its end");
    if (const size_t i = kFrom.find(text_[pos_]); i != std::string_view::npos) {
      out += kTo[i];
      ++pos_;
      return {};
    }
    if (!Take('u')) return Wrong("an unknown escape");
    MINKE_ASSIGN(uint32_t code_point, FourHexDigits());
    if (code_point >= 0xD800 && code_point < 0xE000) {
      uint32_t low = 0;
      if (code_point < 0xDC00 && Take('\\') && Take('u')) {
        MINKE_ASSIGN(low, FourHexDigits());
      }
      if (low < 0xDC00 || low >= 0xE000) return Wrong("half of a surrogate pair");
      code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
    }
    AppendUtf8(out, code_point);
    return {};
  }

  Result<uint32_t> FourHexDigits() {
    uint32_t value = 0;
    if (pos_ + 4 > text_.size()) return Wrong("a \\u escape cut short");
    const char* begin = text_.data() + pos_;
    if (std::from_chars(begin, begin + 4, value, 16).ptr != begin + 4)
      return Wrong("a \\u escape without 4 hex digits");
    pos_ += 4;
    return value;
  }

  Status Array(PromptJson& out, int depth) {
    if (depth > max_depth_) return Wrong("nesting too deep");
    out.kind_ = PromptJson::Kind::kArray;
    ++pos_;
    Space();
    if (Take(']')) return {};
    do {
      MINKE_TRY(Value(out.items_.emplace_back(), depth));
      Space();
    } while (Take(','));
    if (!Take(']')) return Wrong("a list without , or ]");
    return {};
  }

  Status Object(PromptJson& out, int depth) {
    if (depth > max_depth_) return Wrong("nesting too deep");
    out.kind_ = PromptJson::Kind::kObject;
    ++pos_;
    Space();
    if (Take('}')) return {};
    std::unordered_map<std::string, size_t> places;
    do {
      Space();
      if (pos_ == text_.size() || text_[pos_] != '"') return Wrong("a key without quotes");
      std::string key;
      MINKE_TRY(String(key));
      Space();
      if (!Take(':')) return Wrong("a key without :");
      const auto [place, is_new] = places.try_emplace(key, out.members_.size());
      if (is_new) out.members_.emplace_back(std::move(key), PromptJson());
      PromptJson value;
      MINKE_TRY(Value(value, depth));
      out.members_[place->second].second = std::move(value);
      Space();
    } while (Take(','));
    if (!Take('}')) return Wrong("an object without , or }");
    return {};
  }

  std::string_view text_, where_;
  int max_depth_;
  size_t pos_ = 0;
  int num_values_ = 0;
};

Result<PromptJson> PromptJson::Parse(std::string_view text, std::string_view where, int max_depth) {
  return PromptJsonParser(text, where, max_depth).Whole();
}

const PromptJson* PromptJson::Find(std::string_view key) const {
  for (const Member& member : members_)
    if (member.first == key) return &member.second;
  return nullptr;
}

std::string PromptJson::Dump() const {
  std::string out;
  AppendTo(out);
  return out;
}

void PromptJson::AppendTo(std::string& out) const {
  switch (kind_) {
    case Kind::kString:
      return AppendJsonString(out, scalar_);
    case Kind::kArray:
      out += '[';
      for (size_t i = 0; i < items_.size(); ++i) {
        if (i > 0) out += ", ";
        items_[i].AppendTo(out);
      }
      out += ']';
      return;
    case Kind::kObject:
      out += '{';
      for (size_t i = 0; i < members_.size(); ++i) {
        if (i > 0) out += ", ";
        AppendJsonString(out, members_[i].first);
        out += ": ";
        members_[i].second.AppendTo(out);
      }
      out += '}';
      return;
    default:
      out += scalar_;
  }
}

}  // namespace minke
