#include "minke/engine/stop_matcher.h"

#include <algorithm>

#include "minke/engine/sampling.h"

namespace minke {

StopMatcher::StopMatcher(std::span<const std::string> stop) {
  for (const std::string& text : stop) {
    Pattern pattern{text, std::vector<uint16_t>(text.size(), 0)};
    for (size_t i = 1; i < text.size(); ++i) {  // Knuth-Morris-Pratt
      uint16_t length = pattern.border[i - 1];
      while (length > 0 && text[length] != text[i]) length = pattern.border[length - 1];
      if (text[length] == text[i]) ++length;
      pattern.border[i] = length;
    }
    patterns_.push_back(std::move(pattern));
  }
  if (!patterns_.empty()) pending_.reserve(4 * kMaxStopBytes);  // held back + one token, without growing later
}

bool StopMatcher::Advance(Pattern& pattern, char byte) {
  while (pattern.length > 0 && pattern.text[pattern.length] != byte)
    pattern.length = pattern.border[pattern.length - 1];
  if (pattern.text[pattern.length] == byte) ++pattern.length;
  return pattern.length == pattern.text.size();
}

std::string_view StopMatcher::Push(std::string_view bytes) {
  if (matched_) return {};
  if (patterns_.empty()) return bytes;
  pending_.erase(0, num_released_);
  num_released_ = 0;
  for (const char byte : bytes) {
    pending_.push_back(byte);
    for (Pattern& pattern : patterns_) {
      const bool longer = !matched_ || pattern.text.size() > matched_->size();
      if (Advance(pattern, byte) && longer) matched_ = &pattern.text;
    }
    if (matched_) {
      num_released_ = pending_.size() - matched_->size();
      return std::string_view(pending_).substr(0, num_released_);
    }
  }
  size_t held = 0;
  for (const Pattern& pattern : patterns_) held = std::max(held, size_t{pattern.length});
  num_released_ = pending_.size() - held;
  return std::string_view(pending_).substr(0, num_released_);
}

std::string_view StopMatcher::Flush() {
  if (matched_) return {};
  const size_t from = num_released_;
  num_released_ = pending_.size();
  return std::string_view(pending_).substr(from);
}

}  // namespace minke
