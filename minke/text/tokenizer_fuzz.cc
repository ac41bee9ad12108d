// Bytes as a tokenizer.json, and bytes as text for one: nothing crashes, and text always comes back from its ids.
#include <cstdlib>
#include <string>

#include "minke/text/byte_alphabet.h"
#include "minke/text/pretokenizer.h"
#include "minke/text/prompt_json.h"
#include "minke/text/tokenizer.h"
#include "minke/text/utf8_stream.h"

namespace {

using namespace minke;  // NOLINT: the whole file is about it

void CheckRoundTrip(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool markers : {true, false}) {
    std::string bytes;
    for (TokenId id : tokenizer.Encode(text, markers)) {
      if (!tokenizer.HasToken(id)) std::abort();
      bytes += tokenizer.TokenBytes(id);
    }
    if (bytes != text) std::abort();
  }
  Utf8Stream stream;
  std::string streamed;
  for (size_t pos = 0; pos < text.size(); pos += 3) streamed += stream.Push(text.substr(pos, 3));
  if (streamed + stream.Finish() != LossyUtf8(text)) std::abort();
}

// The smallest file of the V3 form: all bytes, some merges, some markers.
std::string SmallTokenizer() {
  std::string vocab, merges, splits;
  int id = 0;
  const auto add = [&](std::string_view token) {
    vocab += vocab.empty() ? "" : ", ";
    AppendJsonString(vocab, token);
    vocab += ": " + std::to_string(id++);
  };
  for (int byte = 0; byte < 256; ++byte) {
    std::string name;
    AppendUtf8(name, kByteAlphabet.CodePoint(static_cast<uint8_t>(byte)));
    add(name);
  }
  for (const auto& [left, right] :
       {std::pair("a", "b"), {"Ġ", "a"}, {"b", "a"}, {"ab", "ab"}, {"Ġ", "Ġ"}, {"ĠĠ", "ĠĠ"}, {"1", "1"}}) {
    add(std::string(left) + right);
    merges += merges.empty() ? "" : ", ";
    AppendJsonString(merges, std::string(left) + " " + right);
  }
  for (std::string_view pattern : kV3Patterns) {
    splits += R"({"type": "Split", "behavior": "Isolated", "pattern": {"Regex": )";
    AppendJsonString(splits, pattern);
    splits += "}}, ";
  }
  std::string added;
  for (const char* token : {"<think>", "</think>", "｜DSML｜", "<t", "<<"}) {
    added += added.empty() ? "" : ", ";
    added += "{\"id\": " + std::to_string(id++) + ", \"content\": \"" + token + "\"}";
  }
  return R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [)" + splits +
         R"({"type": "ByteLevel", "use_regex": false}]}, "decoder": {"type": "ByteLevel"}, "added_tokens": [)" + added +
         R"(], "model": {"type": "BPE", "vocab": {)" + vocab + R"(}, "merges": [)" + merges + "]}}";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  static const auto small = Tokenizer::Parse(SmallTokenizer(), "small");
  if (!small) std::abort();
  CheckRoundTrip(**small, input);
  const auto parsed = Tokenizer::Parse(input, "fuzz");
  if (!parsed) {
    if (parsed.error().code != Code::kDamaged && parsed.error().code != Code::kUnsupported) std::abort();
    return 0;
  }
  CheckRoundTrip(**parsed, input.substr(0, 4096));
  return 0;
}
