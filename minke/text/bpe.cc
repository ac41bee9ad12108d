#include "minke/text/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace minke {
namespace {

constexpr uint64_t kMix = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio

uint64_t Load(const char* data, size_t size) {  // up to 8 bytes
  uint64_t word = 0;
  std::memcpy(&word, data, size);
  return word;
}

uint64_t HashBytes(std::string_view bytes) {
  uint64_t hash = bytes.size() * kMix;
  const char* p = bytes.data();
  size_t left = bytes.size();
  for (; left > 8; p += 8, left -= 8) {
    hash = (hash ^ Load(p, 8)) * kMix;
    hash ^= hash >> 32;
  }
  hash = (hash ^ Load(p, left)) * kMix;
  return hash ^ hash >> 32;
}

// Below this many bytes a scan over all pairs beats the queue (bench/tokenizer.cc: 16 to 32 are alike).
constexpr size_t kShort = 24;
// From here on the table of ranks that the second queue needs (4 bytes a merge) costs less than the first one's log n.
constexpr size_t kLong = 2048;

}  // namespace

void BytesIndex::Reserve(size_t count) {
  slots_.assign(std::bit_ceil(std::max<size_t>(2 * count, 16)), Slot{});
  mask_ = slots_.size() - 1;
}

bool BytesIndex::Insert(std::string_view bytes, TokenId id) {
  if (2 * (count_ + 1) > slots_.size()) {
    std::vector<Slot> old = std::move(slots_);
    count_ = 0;
    Reserve(old.size());
    for (const Slot& slot : old)
      if (slot.data) Insert({slot.data, slot.size}, slot.id);
  }
  size_t i = HashBytes(bytes) & mask_;
  for (; slots_[i].data; i = (i + 1) & mask_)
    if (std::string_view(slots_[i].data, slots_[i].size) == bytes) return false;
  slots_[i] = {bytes.data(), static_cast<uint32_t>(bytes.size()), id};
  ++count_;
  return true;
}

TokenId BytesIndex::Find(std::string_view bytes) const {
  if (slots_.empty()) return -1;
  for (size_t i = HashBytes(bytes) & mask_; slots_[i].data; i = (i + 1) & mask_)
    if (std::string_view(slots_[i].data, slots_[i].size) == bytes) return slots_[i].id;
  return -1;
}

Result<Bpe> Bpe::Build(const std::array<TokenId, 256>& byte_ids, std::vector<std::string_view> tokens,
                       const std::vector<Merge>& merges) {
  Bpe bpe;
  bpe.byte_ids_ = byte_ids;
  bpe.index_.Reserve(tokens.size() - static_cast<size_t>(std::count(tokens.begin(), tokens.end(), "")));
  for (size_t id = 0; id < tokens.size(); ++id)
    if (!tokens[id].empty()) bpe.index_.Insert(tokens[id], static_cast<TokenId>(id));
  bpe.whole_ = std::make_unique<std::atomic<uint8_t>[]>(tokens.size());

  bpe.num_merges_ = merges.size();
  const size_t num_slots = std::bit_ceil(std::max<size_t>(2 * merges.size(), 16));
  bpe.pairs_.resize(num_slots);
  bpe.pair_shift_ = 64 - std::countr_zero(num_slots);
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const uint64_t pair = Pair(merges[rank].left, merges[rank].right);
    size_t i = pair * kMix >> bpe.pair_shift_;
    for (; bpe.pairs_[i].pair != kNoPair; i = (i + 1) & (num_slots - 1))
      if (bpe.pairs_[i].pair == pair)
        return Fail(Code::kDamaged, "merges {} and {} join the same pair", bpe.pairs_[i].rank, rank);
    bpe.pairs_[i] = {pair, static_cast<uint32_t>(rank), merges[rank].result};
  }
  return bpe;
}

const Bpe::PairSlot* Bpe::FindMerge(TokenId left, TokenId right) const {
  const uint64_t pair = Pair(left, right);
  for (size_t i = pair * kMix >> pair_shift_; pairs_[i].pair != kNoPair; i = (i + 1) & (pairs_.size() - 1))
    if (pairs_[i].pair == pair) return &pairs_[i];
  return nullptr;
}

void Bpe::Encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const {
  if (piece.size() == 1) return out.push_back(byte_ids_[static_cast<uint8_t>(piece[0])]);
  const TokenId id = index_.Find(piece);
  if (id >= 0 && whole_[id].load(std::memory_order_relaxed) == kYes) return out.push_back(id);
  const size_t first = out.size();
  if (piece.size() < kShort) {
    EncodeShort(piece, out);
  } else if (piece.size() < kLong) {
    EncodeLong(piece, scratch.symbols, scratch.heap, out);
  } else {
    scratch.buckets.Prepare(num_merges_);
    // Indices are 32 bits wide; a longer piece (more than 2 GiB of one letter, say) is cut.
    constexpr size_t kMost = size_t{1} << 31;
    for (; !piece.empty(); piece.remove_prefix(std::min(kMost, piece.size())))
      EncodeLong(piece.substr(0, kMost), scratch.symbols, scratch.buckets, out);
  }
  if (id >= 0) whole_[id].store(out.size() == first + 1 && out[first] == id ? kYes : kNo, std::memory_order_relaxed);
}

void Bpe::EncodeShort(std::string_view piece, std::vector<TokenId>& out) const {
  TokenId ids[kShort];
  TokenId results[kShort];  // of merging i with i + 1
  uint32_t ranks[kShort];
  size_t n = piece.size();
  const auto look_up = [&](size_t i) {
    const PairSlot* merge = FindMerge(ids[i], ids[i + 1]);
    ranks[i] = merge ? merge->rank : kNoRank;
    results[i] = merge ? merge->result : -1;
  };
  for (size_t i = 0; i < n; ++i) ids[i] = byte_ids_[static_cast<uint8_t>(piece[i])];
  for (size_t i = 0; i + 1 < n; ++i) look_up(i);
  while (n > 1) {
    const size_t i = static_cast<size_t>(std::min_element(ranks, ranks + n - 1) - ranks);
    if (ranks[i] == kNoRank) break;
    ids[i] = results[i];
    --n;
    std::memmove(ids + i + 1, ids + i + 2, (n - i - 1) * sizeof(TokenId));
    if (i + 1 < n) {
      std::memmove(ranks + i + 1, ranks + i + 2, (n - i - 2) * sizeof(uint32_t));
      std::memmove(results + i + 1, results + i + 2, (n - i - 2) * sizeof(TokenId));
      look_up(i);
    }
    if (i > 0) look_up(i - 1);
  }
  out.insert(out.end(), ids, ids + n);
}

template <class Queue>
void Bpe::EncodeLong(std::string_view piece, std::vector<Scratch::Symbol>& symbols, Queue& queue,
                     std::vector<TokenId>& out) const {
  const uint32_t n = static_cast<uint32_t>(piece.size());
  symbols.resize(n);
  // Queues the merge of i with its right neighbour, if there is one.
  const auto look_up = [&](uint32_t i) {
    Scratch::Symbol& symbol = symbols[i];
    const PairSlot* merge = symbol.next < n ? FindMerge(symbol.id, symbols[symbol.next].id) : nullptr;
    symbol.rank = merge ? merge->rank : kNoRank;
    if (!merge) return;
    symbol.result = merge->result;
    queue.Push({merge->rank, i});
  };
  for (uint32_t i = 0; i < n; ++i) symbols[i] = {byte_ids_[static_cast<uint8_t>(piece[i])], i - 1, i + 1, kNoRank, -1};
  for (uint32_t i = 0; i < n; ++i) look_up(i);
  while (!queue.empty()) {
    const auto [rank, i] = queue.Pop();
    Scratch::Symbol& left = symbols[i];
    if (left.rank != rank) continue;  // it or its neighbour has merged since
    Scratch::Symbol& right = symbols[left.next];
    left.id = left.result;
    left.next = right.next;
    right.rank = kNoRank;  // merged away
    if (left.next < n) symbols[left.next].previous = i;
    if (i > 0) look_up(left.previous);
    look_up(i);
  }
  for (uint32_t i = 0; i < n; i = symbols[i].next) out.push_back(symbols[i].id);
}

}  // namespace minke
