#include "minke/text/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <queue>
#include <set>

#include "minke/text/byte_alphabet.h"
#include "minke/text/markers.h"
#include "minke/text/pretokenizer.h"

namespace minke {
namespace {

constexpr int64_t kMaxVocab = int64_t{1} << 20;  // what Tokenizer reads

std::string Visible(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) AppendUtf8(text, kByteAlphabet.CodePoint(static_cast<uint8_t>(byte)));
  return text;
}

// The bytes in the order of their visible characters, which is the order of their ids.
std::array<uint8_t, 256> BytesInOrder() {
  std::array<uint8_t, 256> bytes;
  std::iota(bytes.begin(), bytes.end(), 0);
  std::ranges::sort(bytes, {}, [](uint8_t byte) { return kByteAlphabet.CodePoint(byte); });
  return bytes;
}

// All distinct pieces as one list of symbols with links, and for each pair of neighbours how often it stands in the
// text and where. A merge touches its occurrences and nothing else, so the work is the sum of the counts of the merges
// in distinct pieces, whatever the length of a piece.
class Symbols {
 public:
  struct Pair {
    int64_t count = 0;            // in the text
    std::vector<uint32_t> where;  // left symbols; those that have changed since are passed over
    bool merged = false;
  };
  struct Candidate {
    int64_t count;
    uint64_t pair;
    // std::priority_queue takes the greatest: the highest count, of equals the lower ids.
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };

  Symbols(size_t bytes, const std::array<TokenId, 256>& byte_ids) : byte_ids_(byte_ids) { symbols_.reserve(bytes); }

  void AddWord(std::string_view bytes, int64_t count) {
    const auto first = static_cast<uint32_t>(symbols_.size());
    const auto word = static_cast<uint32_t>(counts_.size());
    counts_.push_back(count);
    for (size_t i = 0; i < bytes.size(); ++i) {
      const auto at = first + static_cast<uint32_t>(i);
      symbols_.push_back({byte_ids_[static_cast<uint8_t>(bytes[i])], i == 0 ? kNone : at - 1,
                          i + 1 == bytes.size() ? kNone : at + 1, word});
      if (i > 0) Change(at - 1, count);
    }
  }

  void Queue() {
    for (const auto& [key, pair] : pairs_) queue_.push({pair.count, key});
  }

  // The next pair to merge; a count below one when there is none.
  Candidate Next() {
    while (!queue_.empty()) {
      const Candidate top = queue_.top();
      queue_.pop();
      const int64_t count = pairs_.find(top.pair)->second.count;
      if (count == top.count) return top;
      if (count > 0) queue_.push({count, top.pair});
    }
    return {0, 0};
  }

  // Replaces the pair by `result` wherever it stands. False if the same pair was merged before.
  bool Merge(uint64_t key, TokenId result) {
    Pair& pair = pairs_[key];
    std::vector<uint32_t> where = std::move(pair.where);
    const bool first = !std::exchange(pair.merged, true);
    if (!std::ranges::is_sorted(where)) std::ranges::sort(where);
    const auto left = static_cast<TokenId>(key >> 32), right = static_cast<TokenId>(key & 0xFFFFFFFF);
    touched_.clear();
    for (const uint32_t at : where) {
      Symbol& symbol = symbols_[at];
      if (symbol.id != left || symbol.next == kNone || symbols_[symbol.next].id != right) continue;
      Symbol& gone = symbols_[symbol.next];
      const int64_t count = counts_[symbol.word];
      if (symbol.previous != kNone) Change(symbol.previous, -count);
      if (gone.next != kNone) Change(symbol.next, -count);
      symbol.id = result;
      symbol.next = gone.next;
      gone.id = kDead;
      if (symbol.next != kNone) symbols_[symbol.next].previous = at;
      if (symbol.previous != kNone) Change(symbol.previous, count);
      if (symbol.next != kNone) Change(at, count);
    }
    pairs_[key].count = 0;
    for (const uint64_t grown : touched_)
      if (const int64_t count = pairs_[grown].count; count > 0) queue_.push({count, grown});
    return first;
  }

 private:
  static constexpr uint32_t kNone = ~uint32_t{0};
  static constexpr TokenId kDead = -1;
  struct Symbol {
    TokenId id;
    uint32_t previous, next;  // kNone at the ends of the word
    uint32_t word;
  };

  // Counts the pair that begins at `at` up or down.
  void Change(uint32_t at, int64_t by) {
    const uint64_t key =
        static_cast<uint64_t>(symbols_[at].id) << 32 | static_cast<uint32_t>(symbols_[symbols_[at].next].id);
    Pair& pair = pairs_[key];
    pair.count += by;
    if (by < 0) return;
    pair.where.push_back(at);
    if (touched_.empty() || touched_.back() != key) touched_.push_back(key);
  }

  const std::array<TokenId, 256>& byte_ids_;
  std::vector<Symbol> symbols_;
  std::vector<int64_t> counts_;  // by word
  std::unordered_map<uint64_t, Pair> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<uint64_t> touched_;  // pairs that grew in this merge
};

Status Check(const BpeTrainerOptions& options) {
  std::set<std::string_view> seen;
  const auto check = [&](const std::vector<std::string>& tokens) -> Status {
    for (const std::string& token : tokens) {
      if (token.empty()) return Fail(Code::kInvalidArgument, "a special token is empty");
      // tokenizer.json writes " the" as "Ġthe": a special token of that spelling would be the same entry.
      if (const auto bytes = kByteAlphabet.Bytes(token); bytes && *bytes != token)
        return Fail(Code::kInvalidArgument, "the special token {} is how the file spells other bytes: take another",
                    token);
      if (!seen.insert(token).second)
        return Fail(Code::kInvalidArgument, "the special token {} is given twice (or is one of the default ones)",
                    token);
    }
    return {};
  };
  MINKE_TRY(check(options.special_tokens));
  MINKE_TRY(check(options.markers));
  const auto least = static_cast<int64_t>(256 + seen.size());
  if (options.vocab_size < least || options.vocab_size > kMaxVocab)
    return Fail(Code::kInvalidArgument,
                "a vocabulary of {} tokens is not possible: it needs {} (256 bytes and {} special tokens) to {}",
                options.vocab_size, least, seen.size(), kMaxVocab);
  return {};
}

}  // namespace

BpeTrainerOptions DeepSeekTokens() {
  BpeTrainerOptions options;
  options.special_tokens = {std::string(markers::kBegin), std::string(markers::kEnd), "<｜▁pad▁｜>"};
  options.markers = {std::string(markers::kUser), std::string(markers::kAssistant), std::string(markers::kThink),
                     std::string(markers::kThinkEnd)};
  return options;
}

void BpeTrainer::Add(std::string_view text) {
  num_bytes_ += static_cast<int64_t>(text.size());
  PieceScanner pieces(text);
  for (std::string_view piece = pieces.Next(); !piece.empty(); piece = pieces.Next()) {
    auto found = index_.find(piece);
    if (found == index_.end()) {
      const std::string_view kept = texts_.emplace_back(piece);
      found = index_.emplace(kept, words_.size()).first;
      words_.push_back({kept, 0});
    }
    ++words_[found->second].count;
  }
}

Result<TrainedBpe> BpeTrainer::Train(const BpeTrainerOptions& options) const {
  MINKE_TRY(Check(options));
  size_t bytes = 0;
  for (const Word& word : words_) bytes += word.bytes.size();
  if (bytes >= ~uint32_t{0})
    return Fail(Code::kUnsupported, "the text has {} bytes of distinct pieces, more than 4 GB: give less text", bytes);

  TrainedBpe out;
  out.tokens = options.special_tokens;
  out.num_special = static_cast<int64_t>(out.tokens.size());
  std::unordered_map<std::string, TokenId> ids;  // by how the file writes the token
  for (const std::string& token : out.tokens) ids.emplace(token, static_cast<TokenId>(ids.size()));
  std::array<TokenId, 256> byte_ids;
  for (const uint8_t byte : BytesInOrder()) {
    const std::string_view one(reinterpret_cast<const char*>(&byte), 1);
    byte_ids[byte] = static_cast<TokenId>(out.tokens.size());
    if (!ids.emplace(Visible(one), byte_ids[byte]).second)
      return Fail(Code::kInvalidArgument, "the special token {} is a single byte's: take a longer one", Visible(one));
    out.tokens.emplace_back(one);
  }

  Symbols symbols(bytes, byte_ids);
  for (const Word& word : words_) symbols.AddWord(word.bytes, word.count);
  symbols.Queue();
  const int64_t room = options.vocab_size - static_cast<int64_t>(options.markers.size());
  while (static_cast<int64_t>(out.tokens.size()) < room) {
    const Symbols::Candidate best = symbols.Next();
    if (best.count < std::max<int64_t>(options.min_frequency, 1)) break;
    const auto left = static_cast<TokenId>(best.pair >> 32), right = static_cast<TokenId>(best.pair & 0xFFFFFFFF);
    const std::string joined = out.tokens[left] + out.tokens[right];
    // The same bytes may come about in two ways; they are one token then.
    const auto [entry, is_new] = ids.emplace(Visible(joined), static_cast<TokenId>(out.tokens.size()));
    if (is_new) out.tokens.push_back(joined);
    if (symbols.Merge(best.pair, entry->second)) out.merges.emplace_back(left, right);
  }
  auto next = static_cast<TokenId>(out.tokens.size());
  for (const std::string& marker : options.markers) {
    const auto same = ids.find(marker);  // a word that was learned as well
    out.added_markers.emplace_back(marker, same == ids.end() ? next++ : same->second);
  }
  return out;
}

}  // namespace minke
