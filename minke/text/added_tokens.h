// Finds added tokens (markers such as <｜User｜>) in text: leftmost, and of those that start there the longest.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/token_id.h"

namespace minke {

// A byte trie behind a filter on the first two bytes. A search costs at most kMaxBytes steps for each byte of text.
class AddedTokens {
 public:
  static constexpr size_t kMaxBytes = 512;

  struct Hit {
    size_t begin = 0, end = 0;
    TokenId id = -1;  // -1: none, and begin == end == size of the text
  };

  // Errors: kDamaged for an empty token, one longer than kMaxBytes, or one that is in already.
  Status Add(std::string_view content, TokenId id);
  Hit Find(std::string_view text, size_t from) const;

 private:
  struct Node {
    int32_t child = -1;    // first of its children
    int32_t sibling = -1;  // next child of the same parent
    TokenId id = -1;       // the token that ends here
    uint8_t byte = 0;
  };
  int32_t Child(int32_t node, uint8_t byte) const;

  std::vector<Node> nodes_{1};
  std::vector<int32_t> roots_ = std::vector<int32_t>(256, -1);
  std::bitset<65536> starts_;  // first byte << 8 | second; a token of one byte sets all 256
};

}  // namespace minke
