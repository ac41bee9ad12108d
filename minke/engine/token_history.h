// Which tokens a request has seen and how often it wrote them itself: what penalties need. Walking it costs
// the number of distinct tokens, not the vocabulary; adding allocates nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "minke/base/token_id.h"

namespace minke {

class TokenHistory {
 public:
  struct Entry {
    TokenId token;
    int32_t output_count;  // 0: only in the prompt
  };

  TokenHistory() = default;  // for requests without penalties; must not be added to
  // Room for `prompt` and `max_tokens` more, of which at most `vocab_size` can differ.
  TokenHistory(std::span<const TokenId> prompt, int64_t max_tokens, int64_t vocab_size);

  void AddOutput(TokenId token) { ++Find(token).output_count; }
  void AddGiven(TokenId token) { Find(token); }  // as if the prompt had it
  std::span<const Entry> entries() const { return entries_; }

 private:
  Entry& Find(TokenId token);  // inserts what is new

  std::vector<Entry> entries_;  // in order of first sight
  std::vector<int32_t> slots_;  // open addressing, a power of two; index into entries_, -1: free
};

}  // namespace minke
