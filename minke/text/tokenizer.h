// Text <-> token ids, as a checkpoint's tokenizer.json says: byte-level BPE with the pre-tokenizer of DeepSeek-V3.
// Immutable once made; any thread may use it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/token_id.h"
#include "minke/text/tokenizer_lists.h"

namespace minke {

struct TokenizerTables;

class Tokenizer {
 public:
  static constexpr int64_t kMaxFileBytes = int64_t{64} << 20;  // V3's has 7.8 MB

  // `path`: the file, or a folder with a tokenizer.json. Errors: kNotFound; kDamaged; kUnsupported for a model,
  // normalizer, pre-tokenizer or decoder that this class does not compute (named in the message).
  static Result<std::unique_ptr<Tokenizer>> Open(const std::string& path);
  // `where` names the source in messages.
  static Result<std::unique_ptr<Tokenizer>> Parse(std::string_view text, std::string_view where);
  static Result<std::unique_ptr<Tokenizer>> FromLists(const TokenizerLists& lists, std::string_view where);
  ~Tokenizer();

  // Linear in the text, n log n in its longest run without a border between pieces. No begin token is added. With
  // `parse_markers` the added tokens in the text become their ids; without, they are text like any other. Bytes that
  // are not UTF-8 are encoded as they are.
  std::vector<TokenId> Encode(std::string_view text, bool parse_markers = true) const;

  // The bytes of all tokens, with broken UTF-8 replaced (utf8_stream.h). Ids that name no token give nothing.
  std::string Decode(std::span<const TokenId> ids) const;
  // What the token stands for, perhaps a part of a character; empty if the id names no token.
  std::string_view TokenBytes(TokenId id) const;
  bool HasToken(TokenId id) const;

  // By the text of an added token, or the bytes of any other: "<think>", " the".
  std::optional<TokenId> TokenToId(std::string_view text) const;
  // One more than the highest id. A model may have more rows.
  int64_t vocab_size() const;
  // Whether the file calls it `special`. Role, think and tool markers are not.
  bool is_special(TokenId id) const;
  bool is_added(TokenId id) const;

 private:
  static Result<std::unique_ptr<Tokenizer>> FromFile(TokenizerFile& file, std::string_view where);
  explicit Tokenizer(std::unique_ptr<TokenizerTables> tables);
  std::unique_ptr<const TokenizerTables> tables_;
};

}  // namespace minke
