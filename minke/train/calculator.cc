#include "minke/train/calculator.h"

#include "minke/train/countdown.h"

namespace minke {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::optional<Evaluation> Parse() {
    if (text_.size() > 256) return std::nullopt;
    const std::optional<int64_t> value = Sum(0);
    if (!value || pos_ != text_.size()) return std::nullopt;
    evaluation_.value = *value;
    return evaluation_;
  }

 private:
  static constexpr int64_t kMost = 1'000'000;
  static constexpr int kMaxDepth = 32;

  char Peek() {
    while (pos_ < text_.size() && text_[pos_] == ' ') ++pos_;
    return pos_ < text_.size() ? text_[pos_] : '\0';
  }
  std::optional<int64_t> Sum(int depth) {
    std::optional<int64_t> value = Product(depth);
    while (value && (Peek() == '+' || Peek() == '-')) value = Next(*value, &Parser::Product, depth);
    return value;
  }
  std::optional<int64_t> Product(int depth) {
    std::optional<int64_t> value = Factor(depth);
    while (value && (Peek() == '*' || Peek() == '/')) value = Next(*value, &Parser::Factor, depth);
    return value;
  }
  std::optional<int64_t> Next(int64_t left, std::optional<int64_t> (Parser::*operand)(int), int depth) {
    const char op = text_[pos_++];
    const std::optional<int64_t> right = (this->*operand)(depth);
    if (!right) return std::nullopt;
    const std::optional<int64_t> result = Calculate(left, op, *right);
    if (!result || *result > kMost || *result < -kMost) return std::nullopt;
    ++evaluation_.operations;
    evaluation_.within_rules &= *result >= 1 && *result <= 99;
    return result;
  }
  std::optional<int64_t> Factor(int depth) {
    if (Peek() == '(') {
      if (depth == kMaxDepth) return std::nullopt;
      ++pos_;
      const std::optional<int64_t> value = Sum(depth + 1);
      if (!value || Peek() != ')') return std::nullopt;
      ++pos_;
      return value;
    }
    int64_t value = 0;
    const size_t begin = pos_;
    while (pos_ < text_.size() && text_[pos_] >= '0' && text_[pos_] <= '9' && value <= kMost)
      value = 10 * value + (text_[pos_++] - '0');
    if (pos_ == begin || value > kMost) return std::nullopt;
    evaluation_.numbers.push_back(static_cast<int>(value));
    return value;
  }

  std::string_view text_;
  size_t pos_ = 0;
  Evaluation evaluation_;
};

std::string Shown(std::optional<int64_t> value) {
  return value && *value >= 0 && *value <= 99 ? std::to_string(*value) : std::string(1, kErrorMark);
}

}  // namespace

std::optional<Evaluation> Evaluate(std::string_view expression) { return Parser(expression).Parse(); }

std::string CalculatorResult(std::string_view expression) {
  const std::optional<Evaluation> evaluation = Evaluate(expression);
  return Shown(evaluation ? std::optional(evaluation->value) : std::nullopt);
}

std::string ResultAfterEquals(std::string_view text) {
  if (!text.ends_with('=')) return {};
  text.remove_suffix(1);
  const auto number = [&]() -> std::optional<int64_t> {  // taken off the end
    size_t digits = 0;
    while (digits < text.size() && digits < 4 && text[text.size() - 1 - digits] >= '0' &&
           text[text.size() - 1 - digits] <= '9')
      ++digits;
    if (digits == 0 || digits == 4) return std::nullopt;
    int64_t value = 0;
    for (const char c : text.substr(text.size() - digits)) value = 10 * value + (c - '0');
    text.remove_suffix(digits);
    return value;
  };
  const std::optional<int64_t> b = number();
  if (!b || text.empty()) return Shown({});
  const char op = text.back();
  text.remove_suffix(1);
  const std::optional<int64_t> a = number();
  return Shown(a ? Calculate(*a, op, *b) : std::nullopt);
}

}  // namespace minke
