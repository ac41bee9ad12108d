// Bytes of tokens -> text that is safe to show. A token may end inside a character: its bytes wait here for the rest.
#pragma once

#include <string>
#include <string_view>

namespace minke {

// One per stream; not thread-safe. The concatenation of all Push() and the Finish() equals the bytes with each broken
// sequence replaced by one U+FFFD per longest valid start (as Python's and Rust's lossy decoding does).
class Utf8Stream {
 public:
  // The characters that are complete now.
  std::string Push(std::string_view bytes);
  // What was waiting turns into U+FFFD. The stream is empty afterwards.
  std::string Finish();

 private:
  std::string pending_;  // at most 3 bytes: the valid start of a character
};

// The whole of `bytes` at once.
std::string LossyUtf8(std::string_view bytes);

}  // namespace minke
