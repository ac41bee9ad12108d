#include "minke/text/tokenizer_file.h"

namespace minke {
namespace {

constexpr int kMaxDepth = 32;
// Values outside vocab and merges; DeepSeek's files have about 6,000. Bounds the memory of a damaged file.
constexpr int64_t kMaxValues = 1 << 18;

// Builds a tree of everything but model.vocab and model.merges.
class TokenizerSax : public nlohmann::detail::json_sax_dom_parser<Json> {
  using Base = nlohmann::detail::json_sax_dom_parser<Json>;
  enum class Inside { kTree, kVocab, kMerges, kMergePair };

 public:
  explicit TokenizerSax(TokenizerFile& file) : Base(file.rest, /*allow_exceptions=*/false), file_(file) {}

  bool start_object(std::size_t count) {
    if (capture_ == kVocab && inside_ == Inside::kTree) return Enter(Inside::kVocab);
    if (!Tree("an object")) return false;
    return Descend() && Base::start_object(count);
  }
  bool end_object() {
    if (inside_ == Inside::kVocab) return Leave();
    --depth_;
    return Base::end_object();
  }
  bool start_array(std::size_t count) {
    if (capture_ == kMerges && inside_ == Inside::kTree) return Enter(Inside::kMerges);
    if (inside_ == Inside::kMerges) {
      inside_ = Inside::kMergePair;
      parts_.clear();
      return true;
    }
    if (!Tree("an array")) return false;
    return Descend() && Base::start_array(count);
  }
  bool end_array() {
    if (inside_ == Inside::kMergePair) {
      inside_ = Inside::kMerges;
      if (parts_.size() != 2) return Wrong("a merge of {} parts", parts_.size());
      file_.merges.emplace_back(std::move(parts_[0]), std::move(parts_[1]));
      return true;
    }
    if (inside_ == Inside::kMerges) return Leave();
    --depth_;
    return Base::end_array();
  }
  bool key(std::string& name) {
    if (inside_ == Inside::kVocab) {
      file_.vocab.emplace_back(std::move(name), -1);
      return true;
    }
    if (depth_ == 1) in_model_ = name == "model";
    capture_ = !(in_model_ && depth_ == 2) ? kNothing
               : name == "vocab"           ? kVocab
               : name == "merges"          ? kMerges
                                           : kNothing;
    if ((capture_ == kVocab && !file_.vocab.empty()) || (capture_ == kMerges && !file_.merges.empty()))
      return Wrong("model.{} twice", name);
    return Base::key(name);
  }

  bool string(std::string& value) {
    if (inside_ == Inside::kMerges) {
      const size_t space = value.find(' ');
      if (space == std::string::npos || value.find(' ', space + 1) != std::string::npos)
        return Wrong("merge {}, \"{}\", which is not two parts and a space", file_.merges.size(), value.substr(0, 80));
      file_.merges.emplace_back(value.substr(0, space), value.substr(space + 1));
      return true;
    }
    if (inside_ == Inside::kMergePair) {
      if (parts_.size() == 2) return Wrong("a merge of more than 2 parts");
      parts_.push_back(std::move(value));
      return true;
    }
    return Tree("a string") && Base::string(value);
  }
  bool number_unsigned(uint64_t value) {
    if (inside_ == Inside::kVocab) {
      file_.vocab.back().second = value > INT64_MAX ? -1 : static_cast<int64_t>(value);
      return true;
    }
    return Tree("a number") && Base::number_unsigned(value);
  }
  bool number_integer(int64_t value) { return Tree("a negative number") && Base::number_integer(value); }
  bool number_float(double value, const std::string& text) {
    return Tree("a number with a fraction") && Base::number_float(value, text);
  }
  bool null() { return Tree("null") && Base::null(); }
  bool boolean(bool value) { return Tree("a boolean") && Base::boolean(value); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) {
    return Wrong("no valid JSON at byte {}", position);
  }
  const std::string& problem() const { return problem_; }

 private:
  enum Capture { kNothing, kVocab, kMerges };

  template <class... Args>
  bool Wrong(fmt::format_string<Args...> format, Args&&... args) {
    problem_ = fmt::format(format, std::forward<Args>(args)...);
    return false;
  }
  // A value that belongs to the tree; one inside the two lists has the wrong type.
  bool Tree(const char* what) {
    capture_ = kNothing;
    if (++values_ > kMaxValues) return Wrong("more than {} values beside vocab and merges", kMaxValues);
    if (inside_ == Inside::kTree) return true;
    return Wrong("{} inside model.{}", what, inside_ == Inside::kVocab ? "vocab" : "merges");
  }
  bool Descend() { return ++depth_ <= kMaxDepth || Wrong("nesting deeper than {}", kMaxDepth); }
  bool Enter(Inside inside) {
    inside_ = inside;
    capture_ = kNothing;
    return true;
  }
  bool Leave() {
    inside_ = Inside::kTree;
    return Base::null();  // what the tree has in the list's place
  }

  TokenizerFile& file_;
  Inside inside_ = Inside::kTree;
  Capture capture_ = kNothing;  // the list that starts if the next value is one
  bool in_model_ = false;
  int depth_ = 0;
  int64_t values_ = 0;
  std::vector<std::string> parts_;
  std::string problem_;
};

}  // namespace

Result<TokenizerFile> ReadTokenizerFile(std::string_view text, std::string_view where) {
  TokenizerFile file;
  TokenizerSax sax(file);
  if (!Json::sax_parse(text.begin(), text.end(), &sax))
    return Fail(Code::kDamaged, "{}: not a tokenizer: it has {}", where, sax.problem());
  return file;
}

}  // namespace minke
