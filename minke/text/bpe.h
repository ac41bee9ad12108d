// Byte-level byte-pair encoding: bytes of one piece -> token ids, by merging the pair of lowest rank (leftmost of
// equals) until none is left. Near-linear in the length of a piece, whatever its bytes are.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/token_id.h"
#include "minke/text/merge_queue.h"

namespace minke {

// Bytes -> token id. Open addressing; the strings themselves stay with the caller.
class BytesIndex {
 public:
  void Reserve(size_t count);
  // False if the same bytes are in already (the entry stays as it was). `bytes` must outlive the index.
  bool Insert(std::string_view bytes, TokenId id);
  TokenId Find(std::string_view bytes) const;  // -1 if absent

 private:
  struct Slot {
    const char* data = nullptr;
    uint32_t size = 0;
    TokenId id = -1;
  };
  std::vector<Slot> slots_;
  size_t mask_ = 0, count_ = 0;
};

// Immutable after Build; Encode may run on many threads, each with its own Scratch.
class Bpe {
 public:
  struct Merge {
    TokenId left, right, result;
  };
  static constexpr uint32_t kNoRank = ~uint32_t{0};
  // Working memory of one Encode, reused from piece to piece.
  struct Scratch {
    struct Symbol {
      TokenId id;
      uint32_t previous, next;  // indices; next == size at the end
      uint32_t rank;            // of merging this one with the next; kNoRank if they do not merge
      TokenId result;           // of that merge
    };
    std::vector<Symbol> symbols;
    HeapQueue heap;
    BucketQueue buckets;
  };

  // `byte_ids[b]` is the token of byte b; `tokens` views the bytes of every token that may stand for a whole piece
  // (its storage must outlive this), by id, empty where there is none. Errors: kDamaged for a pair merged twice.
  static Result<Bpe> Build(const std::array<TokenId, 256>& byte_ids, std::vector<std::string_view> tokens,
                           const std::vector<Merge>& merges);

  void Encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const;

 private:
  struct PairSlot {
    uint64_t pair = kNoPair;  // left << 32 | right
    uint32_t rank = 0;
    TokenId result = -1;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};
  enum Whole : uint8_t { kUnknown, kYes, kNo };

  static uint64_t Pair(TokenId left, TokenId right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  const PairSlot* FindMerge(TokenId left, TokenId right) const;  // nullptr if the pair does not merge
  void EncodeShort(std::string_view piece, std::vector<TokenId>& out) const;
  template <class Queue>
  void EncodeLong(std::string_view piece, std::vector<Scratch::Symbol>& symbols, Queue& queue,
                  std::vector<TokenId>& out) const;

  std::array<TokenId, 256> byte_ids_{};
  BytesIndex index_;
  std::vector<PairSlot> pairs_;
  size_t num_merges_ = 0;
  int pair_shift_ = 0;
  // Whether merging a token's own bytes gives that token, found out at its first use. A pure function of the file, so
  // threads that race write the same value.
  std::unique_ptr<std::atomic<uint8_t>[]> whole_;
};

}  // namespace minke
