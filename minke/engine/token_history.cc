#include "minke/engine/token_history.h"

#include <algorithm>
#include <bit>

#include "minke/base/check.h"

namespace minke {

TokenHistory::TokenHistory(std::span<const TokenId> prompt, int64_t max_tokens, int64_t vocab_size) {
  const int64_t most = std::min(static_cast<int64_t>(prompt.size()) + max_tokens, vocab_size);
  entries_.reserve(most);
  slots_.assign(std::bit_ceil(2 * static_cast<uint64_t>(most) + 1), -1);  // never more than half full
  for (TokenId token : prompt) Find(token);
}

TokenHistory::Entry& TokenHistory::Find(TokenId token) {
  MINKE_DCHECK(!slots_.empty());
  const uint64_t mask = slots_.size() - 1;
  uint64_t slot = (static_cast<uint64_t>(token) * 0x9E3779B97F4A7C15u >> 32) & mask;  // Fibonacci hashing
  while (slots_[slot] >= 0) {
    Entry& entry = entries_[slots_[slot]];
    if (entry.token == token) return entry;
    slot = (slot + 1) & mask;
  }
  slots_[slot] = static_cast<int32_t>(entries_.size());
  entries_.push_back({token, 0});
  return entries_.back();
}

}  // namespace minke
