#include "minke/engine/stop_matcher.h"

#include <algorithm>

#include "minke/engine/sampling.h"

namespace minke {

StopMatcher::Pattern::Pattern(std::string_view pattern) : text(pattern), border(pattern.size(), 0) {
  for (size_t i = 1; i < text.size(); ++i) {  // Knuth-Morris-Pratt
    uint16_t prefix = border[i - 1];
    while (prefix > 0 && text[prefix] != text[i]) prefix = border[prefix - 1];
    if (text[prefix] == text[i]) ++prefix;
    border[i] = prefix;
  }
}

StopMatcher::StopMatcher(std::span<const std::string> stop, std::string_view after)
    : after_(after), waiting_(!after.empty()) {
  for (const std::string& text : stop) patterns_.emplace_back(text);
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
    if (waiting_) {
      waiting_ = !Advance(after_, byte);
      continue;
    }
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

void StopMatcher::Skip(std::string_view bytes) {
  for (Pattern& pattern : patterns_) pattern.length = 0;
  for (const char byte : bytes) waiting_ = waiting_ && !Advance(after_, byte);
}

std::string_view StopMatcher::Flush() {
  if (matched_) return {};
  const size_t from = num_released_;
  num_released_ = pending_.size();
  return std::string_view(pending_).substr(from);
}

}  // namespace minke
