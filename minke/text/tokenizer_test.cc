#include "minke/text/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <string>

#include "minke/base/json.h"
#include "minke/text/utf8_stream.h"

namespace minke {
namespace {

using namespace std::string_literals;  // NOLINT: "..."s

std::unique_ptr<Tokenizer> OpenOrDie(const std::string& path) {
  auto tokenizer = Tokenizer::Open(path);
  EXPECT_TRUE(tokenizer.has_value()) << (tokenizer ? "" : tokenizer.error().message);
  return tokenizer ? std::move(*tokenizer) : nullptr;
}

const Tokenizer& Nano() {
  static const auto tokenizer = OpenOrDie(MINKE_TEST_DATA "/nano-hf");
  return *tokenizer;
}

// The full vocabularies are not part of the project; the test run fetches them and says where they are.
const Tokenizer* Full(const std::string& name) {
  const char* folder = std::getenv("TEST_MINKE_VOCAB_DIR");
  if (!folder || !*folder) return nullptr;
  static std::map<std::string, std::unique_ptr<Tokenizer>> opened;
  auto& tokenizer = opened[name];
  if (!tokenizer) tokenizer = OpenOrDie(std::string(folder) + "/" + name);
  return tokenizer.get();
}
#define MINKE_FULL(variable, name)        \
  const Tokenizer* variable = Full(name); \
  if (!variable) GTEST_SKIP() << "TEST_MINKE_VOCAB_DIR names no folder with " name "/tokenizer.json"

std::vector<Json> Lines(const std::string& file) {
  std::ifstream in(std::string(MINKE_TEST_DATA) + "/golden/tokenizer/" + file);
  std::vector<Json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(*ParseJson(line, file));
  EXPECT_FALSE(lines.empty()) << file;
  return lines;
}

std::string Bytes(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  std::string bytes;
  for (TokenId id : ids) bytes += tokenizer.TokenBytes(id);
  return bytes;
}

std::string Repeat(std::string_view text, size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += text;
  return out;
}

void ExpectGolden(const Tokenizer& tokenizer, const std::string& file) {
  for (const Json& line : Lines(file)) {
    const std::string text = line["text"];
    const std::vector<TokenId> ids = line["ids"];
    EXPECT_EQ(tokenizer.Encode(text), ids) << line.dump();
    EXPECT_EQ(tokenizer.Decode(ids), text);
  }
}

TEST(Tokenizer, EveryGoldenIdOfV3) {
  MINKE_FULL(v3, "deepseek_v3");
  EXPECT_EQ(v3->vocab_size(), 128815);
  ExpectGolden(*v3, "encode.jsonl");
}

TEST(Tokenizer, EveryGoldenIdOfR1WithThinkMarkers) {
  MINKE_FULL(r1, "deepseek_r1");
  ExpectGolden(*r1, "encode_think.jsonl");
}

TEST(Tokenizer, GoldenDecoding) {
  MINKE_FULL(v3, "deepseek_v3");
  for (const Json& line : Lines("decode.jsonl")) {
    const std::vector<TokenId> ids = line["ids"];
    std::string hex;
    for (unsigned char byte : Bytes(*v3, ids)) hex += fmt::format("{:02x}", byte);
    EXPECT_EQ(hex, line["bytes_hex"].get<std::string>());
    EXPECT_EQ(v3->Decode(ids), line["text"].get<std::string>());
    Utf8Stream stream;
    std::string streamed;
    for (TokenId id : ids) streamed += stream.Push(v3->TokenBytes(id));
    EXPECT_EQ(streamed + stream.Finish(), line["text"].get<std::string>());
  }
}

TEST(Tokenizer, SpecialIsNotAdded) {
  MINKE_FULL(r1, "deepseek_r1");
  EXPECT_TRUE(r1->is_special(0));
  EXPECT_TRUE(r1->is_special(*r1->TokenToId("<|EOT|>")));
  EXPECT_FALSE(r1->is_special(*r1->TokenToId("<think>")));
  EXPECT_TRUE(r1->is_added(*r1->TokenToId("<think>")));
  EXPECT_FALSE(r1->is_added(*r1->TokenToId(" the")));
}

TEST(Tokenizer, NanoMarkersAreFoundByName) {
  EXPECT_EQ(Nano().vocab_size(), 502);
  EXPECT_EQ(Nano().TokenToId("<｜begin▁of▁sentence｜>"), 0);
  EXPECT_EQ(Nano().TokenToId("</think>"), 500);
  EXPECT_EQ(Nano().TokenToId("<think>"), 499);
  EXPECT_FALSE(Nano().TokenToId("<|User|>"));
  EXPECT_EQ(Nano().Encode("<｜User｜><think></think>｜DSML｜"), (std::vector<TokenId>{497, 499, 500, 501}));
  EXPECT_EQ(Nano().Encode(""), std::vector<TokenId>());
}

TEST(Tokenizer, NanoPromptsOfExpectedJsonl) {
  std::ifstream in(MINKE_TEST_DATA "/nano-hf/expected.jsonl");
  int count = 0;
  for (std::string line; std::getline(in, line); ++count) {
    const Json expected = *ParseJson(line, "expected.jsonl");
    const std::vector<TokenId> prompt = expected["prompt_ids"];
    EXPECT_EQ(Nano().Encode(Nano().Decode(prompt)), prompt);
  }
  EXPECT_EQ(count, 200);
}

TEST(Tokenizer, MarkersOffAreText) {
  const std::string text = "a<think>b<｜User｜>";
  const auto ids = Nano().Encode(text, /*parse_markers=*/false);
  for (TokenId id : ids) EXPECT_LT(id, 497);
  EXPECT_EQ(Bytes(Nano(), ids), text);
}

TEST(Tokenizer, IdsWithoutATokenGiveNothing) {
  for (TokenId id : {-1, 502, 511, 1 << 30, INT32_MIN}) {
    EXPECT_FALSE(Nano().HasToken(id));
    EXPECT_EQ(Nano().TokenBytes(id), "");
    EXPECT_FALSE(Nano().is_special(id));
  }
  EXPECT_EQ(Nano().Decode(std::vector<TokenId>{-5, 600}), "");
}

// Any bytes survive encoding and decoding, UTF-8 or not.
TEST(Tokenizer, RandomBytesRoundTrip) {
  std::mt19937 random(7);
  const std::string parts[] = {
      "a",      "Z",  "'",       " ",        "  ",   "\n",   "\r\n",         "9",    "中",     "の",     "・", "é",
      "\u0301", "😀", "<think>", "\xF0\x9F", "\x80", "\xFF", "\xED\xA0\x80", "\0x"s, "\u00A0", "\u3000", "½",  "！"};
  std::vector<const Tokenizer*> tokenizers = {&Nano()};
  if (const Tokenizer* v3 = Full("deepseek_v3")) tokenizers.push_back(v3);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int n = static_cast<int>(random() % 40); n > 0; --n) text += parts[random() % std::size(parts)];
    for (const Tokenizer* tokenizer : tokenizers)
      for (const bool markers : {true, false}) ASSERT_EQ(Bytes(*tokenizer, tokenizer->Encode(text, markers)), text);
  }
}

// A megabyte of one thing makes one piece of a million bytes. The bound leaves room for sanitizers and a busy
// machine; bench/tokenizer.cc prints the real times.
TEST(Tokenizer, OneLongPieceTakesNoLongerThanItsLengthAllows) {
  std::vector<const Tokenizer*> tokenizers = {&Nano()};
  if (const Tokenizer* v3 = Full("deepseek_v3")) tokenizers.push_back(v3);
  for (const Tokenizer* tokenizer : tokenizers)
    for (const std::string_view unit :
         {"a", " ", "1", "😀", "\n", "中", "<", "<｜", "<｜place▁holder▁no▁", "\u0301", "\x80", " \n", "ab", "'a"}) {
      const std::string text = Repeat(unit, 1 << 20);
      const auto start = std::chrono::steady_clock::now();
      const auto ids = tokenizer->Encode(text);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      EXPECT_LT(seconds.count(), 8.0) << unit;
      EXPECT_EQ(Bytes(*tokenizer, ids), text);
    }
}

}  // namespace
}  // namespace minke
