// Learns a byte-level BPE vocabulary from text, cut into pieces as DeepSeek-V3's pre-tokenizer does, and writes it as a
// tokenizer.json. The merges are those of the `tokenizers` package's BpeTrainer: the most frequent pair first, of
// equals the one with the lower ids, left before right. Deterministic; single-threaded. Memory grows with the distinct
// pieces, not with the text.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/token_id.h"

namespace minke {

struct BpeTrainerOptions {
  int64_t vocab_size = 0;     // all ids, special tokens and the 256 bytes included
  int64_t min_frequency = 2;  // a pair that is rarer does not become a token
  // In front of the bytes, and after the last merge, as DeepSeek-V3 has them: the first are `special`, which decoders
  // hide; role and think markers are not.
  std::vector<std::string> special_tokens;
  std::vector<std::string> markers;
};

// V3's begin, end and padding; user, assistant, <think>, </think>.
BpeTrainerOptions DeepSeekTokens();

struct TrainedBpe {
  std::vector<std::string> tokens;                  // by id: special_tokens as they are, the others as bytes
  std::vector<std::pair<TokenId, TokenId>> merges;  // in the order in which they were learned
  int64_t num_special = 0;                          // the first of `tokens`
  std::vector<std::pair<std::string, TokenId>> added_markers;

  int64_t vocab_size() const;  // one more than the highest id
  std::string TokenizerJson() const;
  std::string TokenizerConfigJson() const;  // tokenizer_config.json: begin and end token, no template
};

class BpeTrainer {
 public:
  // One text, whole: pieces do not reach across two calls.
  void Add(std::string_view text);

  int64_t num_bytes() const { return num_bytes_; }
  int64_t num_pieces() const { return static_cast<int64_t>(words_.size()); }  // distinct

  // Errors: kInvalidArgument for a vocabulary too small for bytes and special tokens or too large, and for special
  // tokens that are empty or given twice; kUnsupported for more than 4 GB of distinct pieces. Fewer tokens than asked
  // for are no error: the text has no more pairs.
  Result<TrainedBpe> Train(const BpeTrainerOptions& options) const;

 private:
  struct Word {
    std::string_view bytes;  // in texts_
    int64_t count;
  };
  std::deque<std::string> texts_;
  std::vector<Word> words_;  // in order of appearance
  std::unordered_map<std::string_view, size_t> index_;
  int64_t num_bytes_ = 0;
};

}  // namespace minke
