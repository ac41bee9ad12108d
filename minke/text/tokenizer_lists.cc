#include "minke/text/tokenizer_lists.h"

#include "minke/text/pretokenizer.h"

namespace minke {
namespace {

constexpr std::string_view kModel = "gpt2", kPre = "deepseek-v3";

Json PreTokenizer() {
  Json steps = Json::array();
  for (const std::string_view pattern : kV3Patterns)
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

}  // namespace

Result<TokenizerFile> FileOfLists(const TokenizerLists& lists, std::string_view where) {
  if (lists.model != kModel)
    return Fail(Code::kUnsupported, "{}: the tokenizer model is {}, only {} (BPE) is supported", where,
                DumpJson(Json(lists.model.substr(0, 60))), kModel);
  if (lists.pre != kPre)
    return Fail(Code::kUnsupported, "{}: the pre-tokenizer {} is not supported, only {}", where,
                DumpJson(Json(lists.pre.substr(0, 60))), kPre);
  if (lists.types.size() != lists.tokens.size())
    return Fail(Code::kDamaged, "{}: has {} tokens, but {} types of tokens", where, lists.tokens.size(),
                lists.types.size());
  TokenizerFile file;
  Json added = Json::array();
  for (size_t id = 0; id < lists.tokens.size(); ++id) {
    switch (static_cast<ListedToken>(lists.types[id])) {
      case ListedToken::kNormal:
        file.vocab.emplace_back(lists.tokens[id], static_cast<int64_t>(id));
        break;
      case ListedToken::kControl:
      case ListedToken::kUserDefined:
        added.push_back({{"id", id},
                         {"content", lists.tokens[id]},
                         {"single_word", false},
                         {"lstrip", false},
                         {"rstrip", false},
                         {"normalized", false},
                         {"special", lists.types[id] == static_cast<int64_t>(ListedToken::kControl)}});
        break;
      case ListedToken::kUnused:
        break;
      default:
        return Fail(Code::kUnsupported, "{}: token {} is of type {}, which no byte-level BPE has", where, id,
                    lists.types[id]);
    }
  }
  for (const std::string& merge : lists.merges) {
    const size_t space = merge.find(' ');
    if (space == std::string::npos || merge.find(' ', space + 1) != std::string::npos)
      return Fail(Code::kDamaged, "{}: merge {} is not two parts and a space", where,
                  DumpJson(Json(merge.substr(0, 80))));
    file.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  file.rest = {{"version", "1.0"},
               {"added_tokens", std::move(added)},
               {"normalizer", {{"type", "Sequence"}, {"normalizers", Json::array()}}},
               {"pre_tokenizer", PreTokenizer()},
               {"decoder", byte_level},
               {"model", {{"type", "BPE"}, {"vocab", nullptr}, {"merges", nullptr}}}};
  return file;
}

TokenizerLists ListsOfFile(const TokenizerFile& file, int64_t size) {
  TokenizerLists lists = {std::string(kModel), std::string(kPre), {}, {}, {}};
  const auto put = [&](int64_t id, const std::string& text, ListedToken type) {
    if (id < 0 || id >= size) return;  // Tokenizer has judged the ids; a model may have fewer rows
    lists.tokens[static_cast<size_t>(id)] = text;
    lists.types[static_cast<size_t>(id)] = static_cast<int64_t>(type);
  };
  for (int64_t id = 0; id < size; ++id) lists.tokens.push_back(fmt::format("[PAD{}]", id));
  lists.types.assign(static_cast<size_t>(size), static_cast<int64_t>(ListedToken::kUnused));
  for (const auto& [text, id] : file.vocab) put(id, text, ListedToken::kNormal);
  if (const auto added = file.rest.find("added_tokens"); added != file.rest.end() && added->is_array())
    for (const Json& entry : *added) {
      const std::string text = entry.value("content", "");
      // llama.cpp hides what is special, and takes markers like <｜User｜> for that too.
      const bool control = entry.value("special", false) || (text.starts_with("<｜") && text.ends_with("｜>"));
      put(entry.value("id", int64_t{-1}), text, control ? ListedToken::kControl : ListedToken::kUserDefined);
    }
  for (const auto& [left, right] : file.merges) lists.merges.push_back(left + " " + right);
  return lists;
}

std::string TokenizerJson(const TokenizerFile& file) {
  Json json = file.rest;
  Json& model = json["model"];
  model["vocab"] = Json::object();
  for (const auto& [text, id] : file.vocab) model["vocab"][text] = id;
  model["merges"] = Json::array();
  for (const auto& [left, right] : file.merges) model["merges"].push_back(left + " " + right);
  return DumpJson(json) + "\n";
}

}  // namespace minke
