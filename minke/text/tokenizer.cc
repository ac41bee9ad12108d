#include "minke/text/tokenizer.h"

#include <filesystem>

#include "minke/base/file.h"
#include "minke/text/added_tokens.h"
#include "minke/text/bpe.h"
#include "minke/text/pretokenizer.h"
#include "minke/text/tokenizer_tables.h"
#include "minke/text/utf8_stream.h"

namespace minke {

Tokenizer::Tokenizer(std::unique_ptr<TokenizerTables> tables) : tables_(std::move(tables)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::Open(const std::string& path) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  const std::string file = folder ? path + "/tokenizer.json" : path;
  MINKE_ASSIGN(const std::string text, ReadFile(file, kMaxFileBytes));
  return Parse(text, file);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::Parse(std::string_view text, std::string_view where) {
  MINKE_ASSIGN(TokenizerFile file, ReadTokenizerFile(text, where));
  return FromFile(file, where);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromLists(const TokenizerLists& lists, std::string_view where) {
  MINKE_ASSIGN(TokenizerFile file, FileOfLists(lists, where));
  return FromFile(file, where);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromFile(TokenizerFile& file, std::string_view where) {
  auto tables = std::make_unique<TokenizerTables>();
  MINKE_TRY(LoadTables(file, where, *tables));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(tables)));
}

std::vector<TokenId> Tokenizer::Encode(std::string_view text, bool parse_markers) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 4);
  Bpe::Scratch scratch;
  for (size_t pos = 0; pos < text.size();) {
    const AddedTokens::Hit marker =
        parse_markers ? tables_->added.Find(text, pos) : AddedTokens::Hit{text.size(), text.size(), -1};
    PieceScanner pieces(text.substr(pos, marker.begin - pos));
    for (std::string_view piece = pieces.Next(); !piece.empty(); piece = pieces.Next())
      tables_->bpe.Encode(piece, scratch, ids);
    if (marker.id >= 0) ids.push_back(marker.id);
    pos = marker.end;
  }
  return ids;
}

std::string Tokenizer::Decode(std::span<const TokenId> ids) const {
  std::string bytes;
  for (TokenId id : ids) bytes += TokenBytes(id);
  return LossyUtf8(bytes);
}

bool Tokenizer::HasToken(TokenId id) const {
  return id >= 0 && id < vocab_size() && tables_->kinds[id] != TokenKind::kNone;
}
std::string_view Tokenizer::TokenBytes(TokenId id) const { return HasToken(id) ? tables_->Bytes(id) : ""; }
int64_t Tokenizer::vocab_size() const { return static_cast<int64_t>(tables_->kinds.size()); }
bool Tokenizer::is_special(TokenId id) const { return HasToken(id) && tables_->kinds[id] == TokenKind::kSpecial; }
bool Tokenizer::is_added(TokenId id) const { return HasToken(id) && tables_->kinds[id] != TokenKind::kPlain; }

std::optional<TokenId> Tokenizer::TokenToId(std::string_view text) const {
  const TokenId id = tables_->by_bytes.Find(text);
  return id < 0 ? std::nullopt : std::optional<TokenId>(id);
}

}  // namespace minke
