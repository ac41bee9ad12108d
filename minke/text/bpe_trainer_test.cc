#include "minke/text/bpe_trainer.h"

#include <gtest/gtest.h>

#include "minke/base/json.h"
#include "minke/text/tokenizer.h"

namespace minke {
namespace {

TrainedBpe Trained(std::string_view text, BpeTrainerOptions options) {
  BpeTrainer trainer;
  trainer.Add(text);
  auto trained = trainer.Train(options);
  EXPECT_TRUE(trained) << (trained ? "" : trained.error().message);
  return trained ? *trained : TrainedBpe();
}

std::vector<std::string> Learned(const TrainedBpe& trained) {
  std::vector<std::string> texts;
  for (const auto& [left, right] : trained.merges) texts.push_back(trained.tokens[left] + "+" + trained.tokens[right]);
  return texts;
}

BpeTrainerOptions Sized(int64_t vocab_size) {
  BpeTrainerOptions options;
  options.vocab_size = vocab_size;
  return options;
}

TEST(BpeTrainer, MergesTheMostFrequentPairAndOfEqualsTheLowerIds) {
  // bc stands 3 times; then a+bc and c+d stand twice each, and a has the lower id.
  EXPECT_EQ(Learned(Trained("abc abc\nbcd\ncd\ncd", Sized(260))), (std::vector<std::string>{"b+c", "a+bc", "c+d"}));
  // A run is merged from the left, and its pairs overlap: of aaaaa come aa aa a, then aaaa a.
  EXPECT_EQ(Learned(Trained("aaaaa\naaaaa", Sized(260))), (std::vector<std::string>{"a+a", "aa+a", "aa+aaa"}));
}

TEST(BpeTrainer, StopsAtTheSizeOrWhenPairsAreRare) {
  BpeTrainerOptions options = DeepSeekTokens();
  options.vocab_size = 256 + 7 + 2;
  const TrainedBpe two = Trained("abcabc abcabc", options);
  EXPECT_EQ(two.merges.size(), 2u);
  EXPECT_EQ(two.vocab_size(), options.vocab_size);
  options.vocab_size = 1000;
  options.min_frequency = 3;
  EXPECT_EQ(Learned(Trained("ab ab ab", options)), (std::vector<std::string>{"a+b"}));  // " ab" stands twice
  EXPECT_TRUE(Trained("", options).merges.empty());
}

TEST(BpeTrainer, MemoryIsThatOfDistinctPieces) {
  BpeTrainer trainer;
  for (int i = 0; i < 1000; ++i) trainer.Add("the same words the same");
  EXPECT_EQ(trainer.num_bytes(), 23'000);
  EXPECT_EQ(trainer.num_pieces(), 4);  // "the", " same", " words", " the"
}

TEST(BpeTrainer, TheFileHasDeepSeeksTokensAndReadsBack) {
  BpeTrainerOptions options = DeepSeekTokens();
  options.vocab_size = 300;
  options.markers.push_back("ab");  // a marker that is learned as a word too is one token
  const TrainedBpe trained = Trained("ab ab \xff\xfe\xff\xfe 12\n", options);
  const auto tokenizer = Tokenizer::Parse(trained.TokenizerJson(), "trained");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const Tokenizer& t = **tokenizer;
  EXPECT_EQ(t.vocab_size(), trained.vocab_size());
  EXPECT_EQ(t.TokenToId("<｜begin▁of▁sentence｜>"), 0);
  EXPECT_EQ(t.TokenToId("<｜end▁of▁sentence｜>"), 1);
  EXPECT_EQ(t.TokenToId("<｜▁pad▁｜>"), 2);
  EXPECT_EQ(t.TokenToId("!"), 3);
  EXPECT_TRUE(t.is_special(1));
  for (const char* marker : {"<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"}) {
    const auto ids = t.Encode(marker);
    ASSERT_EQ(ids.size(), 1u) << marker;
    EXPECT_GE(ids[0], 259);
    EXPECT_FALSE(t.is_special(ids[0]));
    EXPECT_TRUE(t.is_added(ids[0]));
  }
  EXPECT_EQ(t.Encode("ab").size(), 1u);
  EXPECT_EQ(t.Encode("\xff\xfe").size(), 1u);
  EXPECT_TRUE(ParseJson(trained.TokenizerConfigJson(), "config"));
}

TEST(BpeTrainer, RefusesImpossibleOptions) {
  const auto problem = [](BpeTrainerOptions options) {
    const auto trained = BpeTrainer().Train(options);
    return trained ? std::string() : trained.error().message;
  };
  EXPECT_EQ(problem(Sized(256)), "");
  EXPECT_NE(problem(Sized(255)).find("needs 256 (256 bytes and 0 special tokens)"), std::string::npos);
  EXPECT_NE(problem(Sized(int64_t{1} << 40)).find("not possible"), std::string::npos);
  for (const char* special : {"", "<think>", "a", "é", "Ġthe"}) {
    BpeTrainerOptions options = DeepSeekTokens();
    options.vocab_size = 400;
    options.special_tokens.push_back(special);
    EXPECT_NE(problem(options), "") << special;
  }
}

}  // namespace
}  // namespace minke
