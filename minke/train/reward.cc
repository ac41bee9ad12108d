#include "minke/train/reward.h"

namespace minke {
namespace {

enum class Letter { kNone, kLatin, kHan, kOther };

// Of the character that begins at text[i]; moves i past it.
Letter NextLetter(std::string_view text, size_t& i) {
  const auto first = static_cast<unsigned char>(text[i++]);
  if (first < 0x80) {
    const unsigned char lower = first | 0x20;
    return lower >= 'a' && lower <= 'z' ? Letter::kLatin : Letter::kNone;
  }
  uint32_t code = first >= 0xF0 ? first & 7u : first >= 0xE0 ? first & 15u : first & 31u;
  while (i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80)
    code = code << 6 | (static_cast<unsigned char>(text[i++]) & 63u);
  if (code >= 0xC0 && code < 0x250) return Letter::kLatin;
  if ((code >= 0x4E00 && code < 0xA000) || (code >= 0x3400 && code < 0x4DC0)) return Letter::kHan;
  if (code < 0x250 || (code >= 0x2000 && code < 0x2C00) || (code >= 0x3000 && code < 0x3040)) return Letter::kNone;
  return Letter::kOther;
}

}  // namespace

// A word is a run of letters of one script, but for Han, where each character is one.
double LanguageShare(std::string_view text, std::string_view language_code) {
  const Letter wanted = language_code == "zh" ? Letter::kHan : Letter::kLatin;
  int64_t words = 0, right = 0;
  Letter before = Letter::kNone;
  for (size_t i = 0; i < text.size();) {
    const Letter letter = NextLetter(text, i);
    if (letter != Letter::kNone && (letter != before || letter == Letter::kHan)) {
      ++words;
      right += letter == wanted;
    }
    before = letter;
  }
  return words == 0 ? 1 : static_cast<double>(right) / static_cast<double>(words);
}

double RewardOf(const Verdict& verdict, const Rollout& rollout, const RewardOptions& options) {
  double reward = verdict.right ? options.outcome : 0;
  reward -= options.length_penalty * static_cast<double>(rollout.think_tokens) / 100;
  if (verdict.formatted) reward += options.format;
  if (options.distinct != 0 && verdict.attempts > 0)
    reward += options.distinct * static_cast<double>(verdict.distinct_attempts) / verdict.attempts;
  if (options.language != 0) reward += options.language * LanguageShare(rollout.reasoning, options.language_code);
  return reward;
}

}  // namespace minke
