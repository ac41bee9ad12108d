// Reads what a model wrote about a countdown problem; nothing it may write is an error here.
#include <algorithm>
#include <unordered_set>

#include "minke/train/countdown.h"

namespace minke {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// A line of steps, read as far as it goes.
class LineReader {
 public:
  LineReader(std::string_view text, std::span<const int> numbers, bool calculator)
      : text_(text), pool_(numbers.begin(), numbers.end()), calculator_(calculator) {}

  // Reads steps from `pos` on and leaves `pos` behind them. False: the text is not a line, and `pos` is where it broke.
  bool Read(size_t& pos) {
    for (;;) {
      if (!ReadStep(pos)) return false;
      if (failed_ || pos == text_.size() || text_[pos] != ',') return true;
      ++pos;
    }
  }
  int steps() const { return steps_; }
  int correct() const { return correct_; }
  bool failed() const { return failed_; }  // ended by the calculator's '#'
  bool Leaves(int target) const { return steps_ == correct_ && pool_.size() == 1 && pool_[0] == target; }

 private:
  // 0..999, without leading zeros.
  bool ReadNumber(size_t& pos, int& number) const {
    const size_t begin = pos;
    number = 0;
    while (pos < text_.size() && pos < begin + 3 && IsDigit(text_[pos])) number = 10 * number + (text_[pos++] - '0');
    if (pos == begin || (pos < text_.size() && IsDigit(text_[pos]))) return false;
    return text_[begin] != '0' || pos == begin + 1;
  }
  bool ReadStep(size_t& pos) {
    int a = 0, b = 0, result = 0;
    if (!ReadNumber(pos, a) || pos == text_.size()) return false;
    const char op = text_[pos];
    if (kOperators.find(op) == std::string_view::npos) return false;
    if (!ReadNumber(++pos, b) || pos == text_.size() || text_[pos] != '=') return false;
    ++pos;
    if (calculator_ && pos < text_.size() && text_[pos] == kErrorMark) {
      ++pos, ++steps_;
      failed_ = true;
      return true;
    }
    if (!ReadNumber(pos, result)) return false;
    ++steps_;
    const bool there = Take(a, b);
    if (there) pool_.push_back(result);
    correct_ += there && Combine(a, op, b) == result;
    return true;
  }
  bool Take(int a, int b) {
    std::vector<int> rest = pool_;
    for (const int number : {a, b}) {
      const auto found = std::ranges::find(rest, number);
      if (found == rest.end()) return false;
      rest.erase(found);
    }
    pool_ = std::move(rest);
    return true;
  }

  std::string_view text_;
  std::vector<int> pool_;
  bool calculator_, failed_ = false;
  int steps_ = 0, correct_ = 0;
};

}  // namespace

bool SolvesCountdown(std::span<const int> numbers, int target, std::string_view content, bool* formatted) {
  LineReader line(content, numbers, /*calculator=*/false);
  size_t pos = 0;
  const bool whole = line.Read(pos) && pos == content.size();
  *formatted = whole || content == kGiveUp;
  return whole && line.Leaves(target);
}

Verdict JudgeCountdown(std::span<const int> numbers, int target, bool calculator, std::string_view reasoning,
                       std::string_view content) {
  Verdict verdict;
  bool answer_formatted = false;
  verdict.right = SolvesCountdown(numbers, target, content, &answer_formatted);
  verdict.gave_up = content == kGiveUp;
  verdict.formatted = answer_formatted;
  constexpr std::string_view kMarks = "<>!";
  const std::string_view ends = calculator ? "<>!#" : kMarks;
  std::unordered_set<std::string_view> seen;
  for (size_t pos = 0; pos < reasoning.size();) {
    const size_t begin = pos;
    LineReader line(reasoning, numbers, calculator);
    const bool whole = line.Read(pos);
    size_t end = pos;  // of the attempt's text
    if (whole && line.failed()) {
    } else if (whole && pos < reasoning.size() && kMarks.find(reasoning[pos]) != std::string_view::npos) {
      ++pos;
    } else {  // no attempt, or one that was cut: what is up to the next mark counts as one
      verdict.formatted = false;
      end = std::min(reasoning.find_first_of(ends, pos), reasoning.size());
      pos = std::min(end + 1, reasoning.size());
    }
    verdict.steps += line.steps();
    verdict.correct_steps += line.correct();
    if (whole && line.Leaves(target) && verdict.hit_attempt < 0) verdict.hit_attempt = verdict.attempts;
    ++verdict.attempts;
    seen.insert(reasoning.substr(begin, end - begin));
  }
  verdict.distinct_attempts = static_cast<int>(seen.size());
  return verdict;
}

}  // namespace minke
