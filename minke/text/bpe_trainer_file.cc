// What BpeTrainer writes: tokenizer.json in the layout of DeepSeek-V3's, one token a line, and tokenizer_config.json.
#include "minke/base/json.h"
#include "minke/text/bpe_trainer.h"
#include "minke/text/byte_alphabet.h"
#include "minke/text/markers.h"
#include "minke/text/pretokenizer.h"
#include "minke/text/prompt_json.h"

namespace minke {
namespace {

std::string Quoted(std::string_view text) {
  std::string out;
  AppendJsonString(out, text);
  return out;
}

std::string AddedToken(TokenId id, std::string_view content, bool special) {
  return fmt::format(
      R"({{"id": {}, "content": {}, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": {}}})",
      id, Quoted(content), special);
}

OrderedJson ConfigToken(std::string_view content) {
  OrderedJson token;
  token["__type"] = "AddedToken";
  token["content"] = content;
  for (const char* off : {"lstrip", "rstrip", "single_word"}) token[off] = false;
  token["normalized"] = true;
  return token;
}

}  // namespace

int64_t TrainedBpe::vocab_size() const {
  auto size = static_cast<int64_t>(tokens.size());
  for (const auto& [marker, id] : added_markers) size = std::max<int64_t>(size, id + 1);
  return size;
}

std::string TrainedBpe::TokenizerJson() const {
  std::vector<std::string> written;  // by id, in quotes
  for (size_t id = 0; id < tokens.size(); ++id) {
    std::string visible;
    if (static_cast<int64_t>(id) < num_special) {
      visible = tokens[id];
    } else {
      for (const char byte : tokens[id]) AppendUtf8(visible, kByteAlphabet.CodePoint(static_cast<uint8_t>(byte)));
    }
    written.push_back(Quoted(visible));
  }

  std::string out = "{\n \"version\": \"1.0\",\n \"truncation\": null,\n \"padding\": null,\n \"added_tokens\": [";
  std::string_view separator = "\n  ";
  const auto item = [&](std::string_view text) { out.append(separator).append(text), separator = ",\n  "; };
  for (TokenId id = 0; id < num_special; ++id) item(AddedToken(id, tokens[id], true));
  for (const auto& [marker, id] : added_markers) item(AddedToken(id, marker, false));
  out += "\n ],\n \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": []},\n";
  out += " \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [";
  separator = "\n  ";
  for (const std::string_view pattern : kV3Patterns)
    item(fmt::format(R"({{"type": "Split", "pattern": {{"Regex": {}}}, "behavior": "Isolated", "invert": false}})",
                     Quoted(pattern)));
  item(R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false})");
  out += "\n ]},\n";
  out +=
      " \"post_processor\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": false, "
      "\"use_regex\": true},\n"
      " \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, "
      "\"use_regex\": true},\n"
      " \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, \"continuing_subword_prefix\": null, "
      "\"end_of_word_suffix\": null, \"fuse_unk\": false, \"byte_fallback\": false,\n \"vocab\": {";
  separator = "\n  ";
  for (size_t id = 0; id < written.size(); ++id) item(fmt::format("{}: {}", written[id], id));
  out += "\n },\n \"merges\": [";
  separator = "\n  ";
  for (const auto& [left, right] : merges) item(fmt::format("[{}, {}]", written[left], written[right]));
  return out += "\n ]}\n}\n";
}

std::string TrainedBpe::TokenizerConfigJson() const {
  OrderedJson config;
  config["add_bos_token"] = true;
  config["add_eos_token"] = false;
  config["bos_token"] = ConfigToken(markers::kBegin);
  config["eos_token"] = ConfigToken(markers::kEnd);
  config["pad_token"] = ConfigToken(markers::kEnd);  // as the published checkpoints have it
  config["unk_token"] = nullptr;
  config["clean_up_tokenization_spaces"] = false;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  return config.dump(1) + "\n";
}

}  // namespace minke
