// Stop strings in a stream of bytes. Text is held back while it may still become part of a stop string, at most
// one byte less than the longest; the rest is released at once. The match that ends first wins, of those the
// longest. Text up to and with the first `after` (the end of thinking) is not searched. Cost: bytes times stop strings.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace minke {

class StopMatcher {
 public:
  StopMatcher() : StopMatcher(std::span<const std::string>()) {}
  explicit StopMatcher(std::span<const std::string> stop, std::string_view after = {});  // none of `stop` empty
  StopMatcher(StopMatcher&&) = default;  // a copy's matched() would point into the original
  StopMatcher& operator=(StopMatcher&&) = default;

  // Takes the bytes of one token and returns what may be shown now; valid until the next call. After a match
  // that is the text before the stop string, and nothing more is taken.
  std::string_view Push(std::string_view bytes);
  // Bytes between the model's own that are not shown: no stop string reaches into them or across, so what was held back
  // comes with the next Push or Flush. `after` is found in them.
  void Skip(std::string_view bytes);
  // What is still held back when the text ends without a match.
  std::string_view Flush();

  // The stop string that was found, or nullptr.
  const std::string* matched() const { return matched_; }

 private:
  struct Pattern {
    explicit Pattern(std::string_view text);
    std::string text;
    std::vector<uint16_t> border;  // [size] of each prefix: its longest proper prefix that is also its suffix
    uint16_t length = 0;           // of this pattern's longest prefix that ends the text so far
  };
  static bool Advance(Pattern& pattern, char byte);  // true on a full match

  Pattern after_;
  bool waiting_;  // for after_
  std::vector<Pattern> patterns_;
  std::string pending_;      // released last time, then held back
  size_t num_released_ = 0;  // front part of pending_ that the caller has seen
  const std::string* matched_ = nullptr;
};

}  // namespace minke
