#include "minke/text/added_tokens.h"

namespace minke {

int32_t AddedTokens::Child(int32_t node, uint8_t byte) const {
  int32_t child = nodes_[node].child;
  while (child >= 0 && nodes_[child].byte != byte) child = nodes_[child].sibling;
  return child;
}

Status AddedTokens::Add(std::string_view content, TokenId id) {
  if (content.empty()) return Fail(Code::kDamaged, "the added token {} is empty", id);
  if (content.size() > kMaxBytes)
    return Fail(Code::kDamaged, "the added token {} is {} bytes long, more than {}", id, content.size(), kMaxBytes);
  int32_t node = 0;
  for (char c : content) {
    const uint8_t byte = static_cast<uint8_t>(c);
    int32_t child = node == 0 ? roots_[byte] : Child(node, byte);
    if (child < 0) {
      child = static_cast<int32_t>(nodes_.size());
      nodes_.push_back({-1, nodes_[node].child, -1, byte});
      nodes_[node].child = child;
      if (node == 0) roots_[byte] = child;
    }
    node = child;
  }
  if (nodes_[node].id >= 0)
    return Fail(Code::kDamaged, "the added tokens {} and {} are both \"{}\"", nodes_[node].id, id, content);
  nodes_[node].id = id;
  const size_t first = static_cast<size_t>(static_cast<uint8_t>(content[0])) << 8;
  if (content.size() == 1) {
    for (size_t second = 0; second < 256; ++second) starts_.set(first | second);
  } else {
    starts_.set(first | static_cast<uint8_t>(content[1]));
  }
  return {};
}

AddedTokens::Hit AddedTokens::Find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    const uint8_t first = static_cast<uint8_t>(text[begin]);
    if (roots_[first] < 0) continue;
    // The last byte can only start a token of one byte; for that the second byte does not matter.
    const uint8_t second = begin + 1 < text.size() ? static_cast<uint8_t>(text[begin + 1]) : 0;
    if (!starts_[static_cast<size_t>(first) << 8 | second]) continue;
    Hit best;
    int32_t node = roots_[first];
    for (size_t end = begin + 1; node >= 0; ++end) {
      if (nodes_[node].id >= 0) best = {begin, end, nodes_[node].id};
      if (end == text.size()) break;
      node = Child(node, static_cast<uint8_t>(text[end]));
    }
    if (best.id >= 0) return best;
  }
  return {text.size(), text.size(), -1};
}

}  // namespace minke
