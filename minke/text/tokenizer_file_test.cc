// Damaged and foreign tokenizer.json files: the right code, and a message that names what is wrong.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "minke/base/file.h"
#include "minke/base/json.h"
#include "minke/text/tokenizer.h"

namespace minke {
namespace {

using Change = std::function<void(Json&)>;

Result<std::unique_ptr<Tokenizer>> ParseNano(const Change& change) {
  Json file = *ParseJson(*ReadFile(MINKE_TEST_DATA "/nano-hf/tokenizer.json", 1 << 20), "nano");
  change(file);
  return Tokenizer::Parse(DumpJson(file), "file.json");
}

void ExpectRefused(Code code, std::string_view part, const Change& change) {
  const auto tokenizer = ParseNano(change);
  ASSERT_FALSE(tokenizer.has_value()) << part;
  EXPECT_EQ(tokenizer.error().code, code) << tokenizer.error().message;
  EXPECT_TRUE(tokenizer.error().message.starts_with("file.json: ")) << tokenizer.error().message;
  EXPECT_NE(tokenizer.error().message.find(part), std::string::npos) << tokenizer.error().message;
  EXPECT_EQ(tokenizer.error().message.find('\n'), std::string::npos) << tokenizer.error().message;
}

void ExpectDamagedText(std::string_view text) {
  const auto tokenizer = Tokenizer::Parse(text, "file.json");
  ASSERT_FALSE(tokenizer.has_value());
  EXPECT_EQ(tokenizer.error().code, Code::kDamaged) << tokenizer.error().message;
}

TEST(TokenizerFile, MergesAsPairsAreTheSame) {
  const auto tokenizer = ParseNano([](Json& file) {
    for (Json& merge : file["model"]["merges"]) {
      const std::string text = merge;
      const size_t space = text.find(' ');
      merge = Json::array({text.substr(0, space), text.substr(space + 1)});
    }
  });
  ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  const auto plain = ParseNano([](Json&) {});
  const std::string text = "Make 20 from 5, 2 and 8.";
  EXPECT_EQ((*tokenizer)->Encode(text), (*plain)->Encode(text));
}

TEST(TokenizerFile, DamagedMerges) {
  ExpectRefused(Code::kDamaged, "\"zz\" is not in model.vocab",
                [](Json& f) { f["model"]["merges"].push_back("a zz"); });
  ExpectRefused(Code::kDamaged, "is not in model.vocab", [](Json& f) { f["model"]["merges"].push_back("q x"); });
  ExpectRefused(Code::kDamaged, "join the same pair",
                [](Json& f) { f["model"]["merges"].push_back(f["model"]["merges"][0]); });
  ExpectRefused(Code::kDamaged, "not two parts", [](Json& f) { f["model"]["merges"].push_back("abc"); });
  ExpectRefused(Code::kDamaged, "not two parts", [](Json& f) { f["model"]["merges"].push_back("a b c"); });
  ExpectRefused(Code::kDamaged, "a merge of 1 parts",
                [](Json& f) { f["model"]["merges"].push_back(Json::array({"a"})); });
  ExpectRefused(Code::kDamaged, "more than 2",
                [](Json& f) { f["model"]["merges"].push_back(Json::array({"a", "b", "c"})); });
  ExpectRefused(Code::kDamaged, "inside model.merges", [](Json& f) { f["model"]["merges"].push_back(5); });
}

TEST(TokenizerFile, DamagedVocabulary) {
  ExpectRefused(Code::kDamaged, "no object \"model\"", [](Json& f) { f.erase("model"); });
  ExpectRefused(Code::kDamaged, "has no tokens", [](Json& f) { f["model"]["vocab"] = Json::object(); });
  ExpectRefused(Code::kDamaged, "has no tokens", [](Json& f) { f["model"]["vocab"] = Json::array(); });
  ExpectRefused(Code::kDamaged, "no token for the byte 0x41", [](Json& f) {
    f["model"]["vocab"].erase("A");
    f["model"]["merges"] = Json::array();
  });
  ExpectRefused(Code::kDamaged, "is both", [](Json& f) { f["model"]["vocab"]["b"] = f["model"]["vocab"]["a"]; });
  ExpectRefused(Code::kDamaged, "negative number inside model.vocab", [](Json& f) { f["model"]["vocab"]["a"] = -1; });
  ExpectRefused(Code::kDamaged, "outside 0 to", [](Json& f) { f["model"]["vocab"]["a"] = 1 << 30; });
  ExpectRefused(Code::kDamaged, "outside 0 to", [](Json& f) { f["model"]["vocab"]["a"] = UINT64_MAX; });
  ExpectRefused(Code::kDamaged, "inside model.vocab", [](Json& f) { f["model"]["vocab"]["a"] = "1"; });
  ExpectRefused(Code::kDamaged, "inside model.vocab", [](Json& f) { f["model"]["vocab"]["a"] = 1.5; });
}

TEST(TokenizerFile, DamagedAddedTokens) {
  const auto add = [](int64_t id, const char* content) {
    return [=](Json& f) { f["added_tokens"].push_back({{"id", id}, {"content", content}}); };
  };
  ExpectRefused(Code::kDamaged, "both \"<think>\"", add(600, "<think>"));
  ExpectRefused(Code::kDamaged, "both \"<think>\"", [](Json& f) {
    f["added_tokens"].push_back(f["added_tokens"][5]);
    f["added_tokens"].back()["id"] = 700;
  });
  ExpectRefused(Code::kDamaged, "is both", add(499, "<other>"));
  ExpectRefused(Code::kDamaged, "is both", add(40, "<other>"));
  ExpectRefused(Code::kDamaged, "in model.vocab", add(600, "a"));
  ExpectRefused(Code::kDamaged, "outside 0 to", add(-1, "<other>"));
  ExpectRefused(Code::kDamaged, "outside 0 to", add(int64_t{1} << 40, "<other>"));
  ExpectRefused(Code::kDamaged, "is empty", add(600, ""));
  ExpectRefused(Code::kDamaged, "bytes long", add(600, std::string(5000, 'x').c_str()));
  ExpectRefused(Code::kDamaged, "no id or no content", [](Json& f) { f["added_tokens"].push_back(5); });
  ExpectRefused(Code::kDamaged, "not a list", [](Json& f) { f["added_tokens"] = "x"; });
  ExpectRefused(Code::kUnsupported, "lstrip", [](Json& f) { f["added_tokens"][5]["lstrip"] = true; });
}

TEST(TokenizerFile, UnsupportedKindsAreNamed) {
  const auto step = [](int i) { return [i](Json& f) -> Json& { return f["pre_tokenizer"]["pretokenizers"][i]; }; };
  ExpectRefused(Code::kUnsupported, "WordPiece", [](Json& f) { f["model"]["type"] = "WordPiece"; });
  for (const char* flag : {"byte_fallback", "ignore_merges"})
    ExpectRefused(Code::kUnsupported, flag, [&](Json& f) { f["model"][flag] = true; });
  ExpectRefused(Code::kUnsupported, "unk_token", [](Json& f) { f["model"]["unk_token"] = "<unk>"; });
  ExpectRefused(Code::kUnsupported, "NFC", [](Json& f) { f["normalizer"] = {{"type", "NFC"}}; });
  ExpectRefused(Code::kUnsupported, "Metaspace", [](Json& f) { f["pre_tokenizer"] = {{"type", "Metaspace"}}; });
  ExpectRefused(Code::kUnsupported, "\\\\p{N}{1,2}", [&](Json& f) { step(0)(f)["pattern"]["Regex"] = "\\p{N}{1,2}"; });
  ExpectRefused(Code::kUnsupported, "Digits", [&](Json& f) { step(0)(f) = {{"type", "Digits"}}; });
  ExpectRefused(Code::kUnsupported, "step 3", [&](Json& f) { step(3)(f)["add_prefix_space"] = true; });
  ExpectRefused(Code::kUnsupported, "has 3 steps", [&](Json& f) { f["pre_tokenizer"]["pretokenizers"].erase(3); });
  ExpectRefused(Code::kUnsupported, "WordPiece", [](Json& f) { f["decoder"] = {{"type", "WordPiece"}}; });
}

TEST(TokenizerFile, GarbageIsDamaged) {
  const std::string nano = *ReadFile(MINKE_TEST_DATA "/nano-hf/tokenizer.json", 1 << 20);
  for (size_t size = 0; size < nano.size(); size += 61) ExpectDamagedText(std::string_view(nano).substr(0, size));
  for (const char* text : {"", "5", "[]", "{}", "null", "{\"model\": 5}", "{\"model\": {\"vocab\": {\"a\": {}}}}",
                           "{\"model\": {\"vocab\": {\"a\": 1}, \"vocab\": {\"b\": 2}}}", "\xFF\xFE"})
    ExpectDamagedText(text);
  ExpectDamagedText(std::string(1 << 20, '['));
  ExpectDamagedText(std::string(1 << 20, '\0'));
}

TEST(TokenizerFile, AFileThatIsNotThereOrTooLong) {
  const auto missing = Tokenizer::Open("/nonexistent");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  const std::string path = testing::TempDir() + "/huge_tokenizer.json";
  FILE* file = std::fopen(path.c_str(), "w");
  ASSERT_NE(file, nullptr);
  // A hole: a gigabyte long without a block on the disk.
  ASSERT_EQ(std::fseek(file, 1 << 30, SEEK_SET), 0);
  std::fputc('}', file);
  std::fclose(file);
  const auto huge = Tokenizer::Open(path);
  std::remove(path.c_str());
  ASSERT_FALSE(huge.has_value());
  EXPECT_EQ(huge.error().code, Code::kDamaged) << huge.error().message;
}

}  // namespace
}  // namespace minke
