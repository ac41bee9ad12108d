// What a Tokenizer holds, and the check of a tokenizer.json that fills it. Private to the room.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/text/added_tokens.h"
#include "minke/text/bpe.h"
#include "minke/text/tokenizer_file.h"

namespace minke {

enum class TokenKind : uint8_t { kNone, kPlain, kAdded, kSpecial };

struct TokenizerTables {
  std::string bytes;              // of all tokens, one after the other; not moved once views point into it
  std::vector<uint32_t> offsets;  // by id, one more than there are ids
  std::vector<TokenKind> kinds;   // by id; kNone: the id names no token
  BytesIndex by_bytes;            // all tokens; an added token hides a plain one of the same bytes
  AddedTokens added;
  Bpe bpe;

  std::string_view Bytes(TokenId id) const {
    return std::string_view(bytes).substr(offsets[id], offsets[id + 1] - offsets[id]);
  }
};

// Errors: kDamaged when the file contradicts itself or has no vocabulary; kUnsupported when it asks for something that
// Tokenizer does not compute.
Status LoadTables(TokenizerFile& file, std::string_view where, TokenizerTables& tables);

}  // namespace minke
