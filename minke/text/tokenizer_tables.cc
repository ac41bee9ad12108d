#include "minke/text/tokenizer_tables.h"

#include <array>

#include "minke/text/byte_alphabet.h"
#include "minke/text/pretokenizer.h"

namespace minke {
namespace {

// More than any vocabulary has; it bounds the tables that a damaged id could ask for.
constexpr int64_t kMaxId = int64_t{1} << 20;

const Json& Field(const Json& object, const char* name) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto it = object.find(name);
  return it == object.end() ? kNull : *it;
}
std::string TypeOf(const Json& value) {
  const Json& type = Field(value, "type");
  return type.is_string() ? type.get<std::string>() : value.is_null() ? "null" : "without a type";
}
// Absent, null, false, zero, "" or []: the feature is not used.
bool Off(const Json& value) {
  return value.is_null() || value == Json(false) || (value.is_number() && value == Json(0)) ||
         ((value.is_string() || value.is_array() || value.is_object()) && value.empty()) || value == Json("");
}
std::string Excerpt(std::string_view text) {
  return DumpJson(Json(std::string(text.substr(0, 60)))) + (text.size() > 60 ? "…" : "");
}

// Reads one file; every method checks a part and fills the tables from it.
class Loader {
 public:
  Loader(TokenizerFile& file, std::string_view where, TokenizerTables& tables)
      : file_(file), where_(where), tables_(tables) {}

  Status Load() {
    MINKE_TRY(CheckModel());
    MINKE_TRY(CheckPipeline());
    MINKE_TRY(ReadVocab());
    MINKE_TRY(ReadAdded());
    StoreBytes();
    return ReadMerges();
  }

 private:
  template <class... Args>
  auto Damaged(fmt::format_string<Args...> format, Args&&... args) const {
    return Fail(Code::kDamaged, "{}: {}", where_, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  auto Unsupported(fmt::format_string<Args...> format, Args&&... args) const {
    return Fail(Code::kUnsupported, "{}: {}", where_, fmt::format(format, std::forward<Args>(args)...));
  }

  Status CheckModel() const {
    const Json& model = Field(file_.rest, "model");
    if (!model.is_object()) return Damaged("not a tokenizer: it has no object \"model\"");
    // Files from before the field existed are recognised by their merges.
    const Json& type = Field(model, "type");
    if (!type.is_null() && type != Json("BPE"))
      return Unsupported("the tokenizer model is {}, only BPE is supported", TypeOf(model));
    for (const char* name :
         {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"})
      if (!Off(Field(model, name))) return Unsupported("model.{} is set, which is not supported", name);
    return {};
  }

  Status CheckPipeline() const {
    const Json& normalizer = Field(file_.rest, "normalizer");
    if (!normalizer.is_null() && !(TypeOf(normalizer) == "Sequence" && Off(Field(normalizer, "normalizers"))))
      return Unsupported("the normalizer {} is not supported", TypeOf(normalizer));
    if (const std::string decoder = TypeOf(Field(file_.rest, "decoder")); decoder != "ByteLevel")
      return Unsupported("the decoder {} is not supported, only ByteLevel", decoder);

    const Json& pre_tokenizer = Field(file_.rest, "pre_tokenizer");
    const Json& steps = Field(pre_tokenizer, "pretokenizers");
    if (TypeOf(pre_tokenizer) != "Sequence" || !steps.is_array())
      return Unsupported("the pre-tokenizer {} is not supported, only DeepSeek-V3's sequence", TypeOf(pre_tokenizer));
    constexpr size_t kSplits = std::size(kV3Patterns);
    for (size_t i = 0; i < steps.size(); ++i) {
      if (i < kSplits) {
        const Json& regex = Field(Field(steps[i], "pattern"), "Regex");
        if (TypeOf(steps[i]) != "Split" || !regex.is_string() || Field(steps[i], "behavior") != Json("Isolated") ||
            !Off(Field(steps[i], "invert")))
          return Unsupported("step {} of the pre-tokenizer ({}) is not a split by a pattern", i, TypeOf(steps[i]));
        const std::string& pattern = regex.get_ref<const std::string&>();
        if (NormalizePattern(pattern) != kV3Patterns[i])
          return Unsupported("the pre-tokenizer pattern {} is not one of DeepSeek-V3's", Excerpt(pattern));
      } else if (i > kSplits || TypeOf(steps[i]) != "ByteLevel" || !Off(Field(steps[i], "add_prefix_space")) ||
                 Field(steps[i], "use_regex") != Json(false)) {
        return Unsupported("step {} of the pre-tokenizer ({}) is not supported", i, TypeOf(steps[i]));
      }
    }
    if (steps.size() != kSplits + 1)
      return Unsupported("the pre-tokenizer has {} steps, DeepSeek-V3's has {}", steps.size(), kSplits + 1);
    return {};
  }

  Status ReadVocab() {
    if (file_.vocab.empty()) return Damaged("model.vocab has no tokens");
    names_.Reserve(file_.vocab.size());
    for (const auto& [name, id] : file_.vocab) {
      if (name.empty()) return Damaged("model.vocab has an empty token");
      if (id < 0 || id >= kMaxId)
        return Damaged("the id of the token {} is {}, outside 0 to {}", Excerpt(name), id, kMaxId - 1);
      MINKE_TRY(Claim(id, name, TokenKind::kPlain));
      if (!names_.Insert(name, static_cast<TokenId>(id))) return Damaged("the token {} appears twice", Excerpt(name));
    }
    return {};
  }

  Status Claim(int64_t id, const std::string& name, TokenKind kind) {
    if (id >= static_cast<int64_t>(texts_.size())) {
      texts_.resize(id + 1);
      tables_.kinds.resize(id + 1, TokenKind::kNone);
    }
    if (tables_.kinds[id] != TokenKind::kNone)
      return Damaged("the id {} is both {} and {}", id, Excerpt(*texts_[id]), Excerpt(name));
    texts_[id] = &name;
    tables_.kinds[id] = kind;
    return {};
  }

  Status ReadAdded() {
    added_ = Field(file_.rest, "added_tokens");
    if (!added_.is_array() && !added_.is_null()) return Damaged("added_tokens is not a list");
    for (size_t i = 0; i < added_.size(); ++i) {
      const Json& entry = added_[i];
      const Json& id_field = Field(entry, "id");
      if (!id_field.is_number_integer() || !Field(entry, "content").is_string())
        return Damaged("added_tokens[{}] has no id or no content", i);
      const std::string& content = entry.find("content")->get_ref<const std::string&>();
      const int64_t id =
          id_field.is_number_unsigned() && id_field.get<uint64_t>() > INT64_MAX ? -1 : id_field.get<int64_t>();
      if (id < 0 || id >= kMaxId)
        return Damaged("the id of the added token {} is outside 0 to {}", Excerpt(content), kMaxId - 1);
      for (const char* flag : {"single_word", "lstrip", "rstrip"})
        if (!Off(Field(entry, flag)))
          return Unsupported("the added token {} has {}, which is not supported", Excerpt(content), flag);
      const TokenKind kind = Field(entry, "special") == Json(true) ? TokenKind::kSpecial : TokenKind::kAdded;
      const TokenId known = names_.Find(content);
      if (known >= 0 && known == id) {
        tables_.kinds[id] = kind;  // listed in the vocabulary too, as begin and end are
      } else if (known >= 0) {
        return Damaged("the added token {} has the id {}, but {} in model.vocab", Excerpt(content), id, known);
      } else {
        MINKE_TRY(Claim(id, content, kind));
      }
      if (Status status = tables_.added.Add(content, static_cast<TokenId>(id)); !status)
        return Damaged("{}", status.error().message);
    }
    return {};
  }

  void StoreBytes() {
    tables_.offsets.reserve(texts_.size() + 1);
    for (size_t id = 0; id < texts_.size(); ++id) {
      tables_.offsets.push_back(static_cast<uint32_t>(tables_.bytes.size()));
      if (!texts_[id]) continue;
      // A token with a character outside the alphabet stands for itself, as in the reference's decoder.
      const auto bytes = tables_.kinds[id] == TokenKind::kPlain ? kByteAlphabet.Bytes(*texts_[id]) : std::nullopt;
      tables_.bytes += bytes ? *bytes : *texts_[id];
    }
    tables_.offsets.push_back(static_cast<uint32_t>(tables_.bytes.size()));
    tables_.by_bytes.Reserve(file_.vocab.size() + added_.size());
    for (const bool added : {true, false})
      for (size_t id = 0; id < texts_.size(); ++id) {
        const TokenKind kind = tables_.kinds[id];
        if (kind != TokenKind::kNone && added == (kind != TokenKind::kPlain))
          tables_.by_bytes.Insert(tables_.Bytes(static_cast<TokenId>(id)), static_cast<TokenId>(id));
      }
  }

  Status ReadMerges() {
    std::array<TokenId, 256> byte_ids;
    for (int byte = 0; byte < 256; ++byte) {
      std::string name;
      AppendUtf8(name, kByteAlphabet.CodePoint(static_cast<uint8_t>(byte)));
      byte_ids[byte] = names_.Find(name);
      if (byte_ids[byte] < 0)
        return Damaged("model.vocab has no token for the byte 0x{:02x} ({})", byte, Excerpt(name));
    }
    std::vector<Bpe::Merge> merges;
    merges.reserve(file_.merges.size());
    std::string joined;
    for (size_t i = 0; i < file_.merges.size(); ++i) {
      const auto& [left, right] = file_.merges[i];
      joined.assign(left).append(right);
      const Bpe::Merge merge = {names_.Find(left), names_.Find(right), names_.Find(joined)};
      if (merge.left < 0 || merge.right < 0 || merge.result < 0)
        return Damaged("merge {} ({} + {}): {} is not in model.vocab", i, Excerpt(left), Excerpt(right),
                       Excerpt(merge.left < 0    ? left
                               : merge.right < 0 ? right
                                                 : joined));
      merges.push_back(merge);
    }
    std::vector<std::string_view> pieces(texts_.size());
    for (size_t id = 0; id < texts_.size(); ++id)
      if (tables_.kinds[id] == TokenKind::kPlain) pieces[id] = tables_.Bytes(static_cast<TokenId>(id));
    auto bpe = Bpe::Build(byte_ids, std::move(pieces), merges);
    if (!bpe) return Damaged("{}", bpe.error().message);
    tables_.bpe = std::move(*bpe);
    return {};
  }

  TokenizerFile& file_;
  std::string_view where_;
  TokenizerTables& tables_;
  Json added_;                             // owns the texts of added tokens while loading
  BytesIndex names_;                       // model.vocab as written
  std::vector<const std::string*> texts_;  // by id, as written
};

}  // namespace

Status LoadTables(TokenizerFile& file, std::string_view where, TokenizerTables& tables) {
  return Loader(file, where, tables).Load();
}

}  // namespace minke
