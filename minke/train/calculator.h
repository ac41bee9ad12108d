// The tools of countdown's two tool variants: what a calculator says to text that a model wrote. Total.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace minke {

// An arithmetic expression of whole numbers, + - * / and parentheses, evaluated exactly.
struct Evaluation {
  int64_t value = 0;
  std::vector<int> numbers;  // as written, from left to right
  int operations = 0;
  bool within_rules = true;  // every result in 1..99, as countdown has it
};
// Nothing for text that is no expression (up to 256 bytes, 32 levels), a division that leaves a rest, or a number
// beyond +-1,000,000.
std::optional<Evaluation> Evaluate(std::string_view expression);

// "0".."99", or "#": the error mark.
std::string CalculatorResult(std::string_view expression);

// For text that ends with '=': the result of the step before it ("...,5-2=" gives "3"), else "#". Other text: "".
std::string ResultAfterEquals(std::string_view text);

}  // namespace minke
