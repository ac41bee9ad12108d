#include "minke/train/dataset.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>

namespace minke {
namespace {

class Data : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "minke-data-" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(folder_);
  }
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << text;
    return folder_ + "/" + name;
  }
  // Short texts, all different, in two files.
  std::vector<std::string> Texts(int count) {
    std::string one, two;
    for (int i = 0; i < count; ++i) {
      std::string letters;
      for (int j = 0; j < 3 + i % 5; ++j) letters += "~`"[(i >> j) & 1];
      (i % 3 ? one : two) += "{\"text\": \"" + std::to_string(i) + letters + "\"}\n";
    }
    return {Write("one.jsonl", one), Write("two.jsonl", "\n" + two)};
  }
  Dataset Open(const std::vector<std::string>& files, DatasetOptions options = {}) {
    auto data = Dataset::Open(files, encoder_, options);
    EXPECT_TRUE(data) << (data ? "" : data.error().message);
    return std::move(*data);
  }
  static Sequence Next(Dataset& data, int64_t max_tokens) {
    Sequence sequence;
    const Status status = data.Next(max_tokens, sequence);
    EXPECT_TRUE(status) << (status ? "" : status.error().message);
    EXPECT_LE(static_cast<int64_t>(sequence.tokens.size()), max_tokens);
    EXPECT_EQ(sequence.tokens.size(), sequence.loss.size());
    EXPECT_EQ(std::accumulate(sequence.lengths.begin(), sequence.lengths.end(), int64_t{0}),
              static_cast<int64_t>(sequence.tokens.size()));
    return sequence;
  }
  std::vector<std::string> Decoded(const Sequence& sequence) const {
    std::vector<std::string> texts;
    size_t at = 0;
    for (const int64_t length : sequence.lengths) {
      texts.push_back(tokenizer_->Decode(std::span(sequence.tokens).subspan(at, length)));
      EXPECT_EQ(sequence.loss[at], 0);  // nothing before it in its document
      at += length;
    }
    return texts;
  }
  // All documents of one epoch.
  std::vector<std::string> Epoch(Dataset& data, int64_t max_tokens) const {
    std::vector<std::string> all;
    for (const int64_t epoch = data.cursor().epoch; data.cursor().epoch == epoch;)
      for (const std::string& text : Decoded(Next(data, max_tokens))) all.push_back(text);
    return all;
  }
  std::string Problem(Dataset& data, int64_t max_tokens) const {
    Sequence sequence;
    const Status status = data.Next(max_tokens, sequence);
    return status ? "" : status.error().message;
  }

  const std::unique_ptr<Tokenizer> tokenizer_ = std::move(*Tokenizer::Open(MINKE_TEST_DATA "/nano-hf"));
  const DocumentEncoder encoder_ = *DocumentEncoder::Create(*tokenizer_, {}, {});
  std::string folder_;
};

TEST_F(Data, AnEpochHasEveryLineOnceInItsOwnOrder) {
  const auto files = Texts(100);
  Dataset data = Open(files, {.seed = 3}), other = Open(files, {.seed = 4}), plain = Open(files, {.shuffle = false});
  std::vector<std::vector<std::string>> orders = {Epoch(data, 40), Epoch(data, 40), Epoch(other, 40), Epoch(plain, 40)};
  Dataset again = Open(files, {.seed = 3});
  EXPECT_EQ(Epoch(again, 64), orders[0]);  // whatever the length of a sequence
  for (size_t i = 0; i < orders.size(); ++i)
    for (size_t j = 0; j < i; ++j) EXPECT_NE(orders[i], orders[j]);
  EXPECT_TRUE(orders[3][0].find(">1~") != std::string::npos || orders[3][0].find(">1`") != std::string::npos);
  for (auto& order : orders) {
    ASSERT_EQ(order.size(), 100u);
    std::ranges::sort(order);
    EXPECT_EQ(order, orders[0]);
  }
}

TEST(EpochOrder, IsAPermutationThatSpreads) {
  for (const int64_t count : {1, 2, 1000}) {
    const auto order = EpochOrder(7, 2, count);
    EXPECT_EQ(std::set<uint32_t>(order.begin(), order.end()).size(), static_cast<size_t>(count));
  }
  int64_t total = 0;  // the first place has every line with the same chance
  for (int64_t epoch = 0; epoch < 4000; ++epoch) total += EpochOrder(7, epoch, 101)[0];
  EXPECT_NEAR(static_cast<double>(total) / 4000, 50, 2);  // 4 standard errors
}

TEST_F(Data, ACursorBringsBackTheSameSequences) {
  const auto files = Texts(50);
  Dataset data = Open(files, {.seed = 1});
  std::vector<DataCursor> cursors;
  std::vector<std::vector<TokenId>> sequences;
  for (int i = 0; i < 60; ++i) {
    cursors.push_back(data.cursor());
    sequences.push_back(Next(data, 17).tokens);
  }
  const DataCursor end = data.cursor();
  EXPECT_GT(end.epoch, 1);
  for (const int at : {0, 1, 23, 40, 59}) {
    Dataset resumed = Open(files, {.seed = 1});
    const auto cursor = DataCursor::FromJson(*ParseJson(cursors[at].ToJson().dump(), "cursor"), "cursor");
    ASSERT_TRUE(cursor) << cursor.error().message;
    ASSERT_TRUE(resumed.Restore(*cursor));
    for (size_t i = at; i < sequences.size(); ++i) EXPECT_EQ(Next(resumed, 17).tokens, sequences[i]);
    EXPECT_EQ(resumed.cursor(), end);
  }
}

TEST_F(Data, ACursorOfOtherDataIsRefused) {
  const auto files = Texts(5);
  DataCursor cursor = Open(files).cursor();
  Dataset other = Open({files[0]});
  EXPECT_EQ(other.Restore(cursor).error().code, Code::kCannotResume);
  cursor.data_hash = other.hash();
  cursor.place = 99;
  EXPECT_EQ(other.Restore(cursor).error().code, Code::kCannotResume);
  cursor.place = 1, cursor.token = 99;
  ASSERT_TRUE(other.Restore(cursor));
  Sequence sequence;
  EXPECT_EQ(other.Next(20, sequence).error().code, Code::kCannotResume);
  for (const char* text : {"[]", "{}", "{\"epoch\": -1}"})
    EXPECT_EQ(DataCursor::FromJson(*ParseJson(text, ""), "state.json").error().code, Code::kDamaged);
  OrderedJson json = cursor.ToJson();
  json["data_hash"] = "12";
  EXPECT_NE(DataCursor::FromJson(Json::parse(json.dump()), "state.json").error().message.find("\"data_hash\""),
            std::string::npos);
}

TEST_F(Data, ALongTextGoesOnAndEveryTokenIsATargetOnce) {
  std::string letters;
  for (int i = 0; i < 50; ++i) letters += "~`^"[i % 3];
  Dataset data = Open({Write("a.jsonl", "{\"text\": \"" + letters + "\"}\n")});
  std::vector<TokenId> whole = {*tokenizer_->TokenToId(markers::kBegin)}, targets;
  for (const TokenId id : tokenizer_->Encode(letters)) whole.push_back(id);
  whole.push_back(*tokenizer_->TokenToId(markers::kEnd));
  DataCursor middle;
  while (data.cursor().epoch == 0) {
    middle = data.cursor();
    const Sequence sequence = Next(data, 7);
    for (size_t i = 0; i < sequence.tokens.size(); ++i)
      if (sequence.loss[i]) targets.push_back(sequence.tokens[i]);
  }
  EXPECT_EQ(targets, std::vector<TokenId>(whole.begin() + 1, whole.end()));
  EXPECT_EQ(data.cursor().counts.cut, 1);
  EXPECT_EQ(data.cursor().counts.targets, static_cast<int64_t>(targets.size()));
  EXPECT_GT(middle.token, 0);
  ASSERT_TRUE(data.Restore(middle));  // in the middle of the text
  EXPECT_EQ(Next(data, 7).tokens.back(), whole.back());
}

TEST_F(Data, LongMessagesAreDroppedOrCutAndCounted) {
  const auto message = [](const std::string& question) {
    return "{\"messages\": [{\"role\": \"user\", \"content\": \"" + question +
           "\"}, {\"role\": \"assistant\", \"content\": \"~~~~~~~~\"}]}\n";
  };
  const std::string path =
      Write("m.jsonl", message("?") + message(std::string(40, '~') + std::string(40, '`')) + message("!"));
  Dataset drop = Open({path}, {.shuffle = false});
  EXPECT_EQ(Epoch(drop, 20).size(), 2u);
  EXPECT_EQ(drop.cursor().counts.dropped, 1);
  Dataset cut = Open({path}, {.shuffle = false, .long_messages = DatasetOptions::TooLong::kCut});
  EXPECT_EQ(Epoch(cut, 8).size(), 2u);  // the second is cut before its answer: nothing to learn is left
  EXPECT_EQ(cut.cursor().counts.cut, 2);
  EXPECT_EQ(cut.cursor().counts.dropped, 1);
}

TEST_F(Data, ABadLineIsNamedOrSkippedAndCounted) {
  const std::string good = "{\"text\": \"~\"}\n";
  const std::string path = Write("b.jsonl", good + "\n" + good + "{\"text\": \n" + good + "[]\n");
  Dataset strict = Open({path}, {.shuffle = false});
  const DataCursor before = strict.cursor();
  for (int i = 0; i < 2; ++i) {  // it stays where it is
    const std::string problem = Problem(strict, 100);
    EXPECT_TRUE(problem.starts_with(path + ":4: ")) << problem;
    EXPECT_EQ(strict.cursor(), before);
  }
  Dataset lax = Open({path}, {.shuffle = false, .skip_bad_lines = true});
  EXPECT_EQ(Epoch(lax, 100).size(), 3u);
  EXPECT_EQ(lax.cursor().counts.bad_lines, 2);
  EXPECT_EQ(lax.cursor().epoch, 1);
}

TEST_F(Data, NothingUsableEndsInsteadOfTurningRound) {
  Dataset bad = Open({Write("b.jsonl", "x\ny\n")}, {.skip_bad_lines = true});
  EXPECT_NE(Problem(bad, 10).find("no usable line: 2 bad"), std::string::npos) << Problem(bad, 10);
  Dataset good = Open({Write("g.jsonl", "{\"text\": \"~~\"}\n")});
  EXPECT_NE(Problem(good, 1).find("2 or more"), std::string::npos);
  EXPECT_EQ(Dataset::Open({Write("e.jsonl", "\n\n")}, encoder_, {}).error().code, Code::kInvalidArgument);
  EXPECT_EQ(Dataset::Open({folder_ + "/none"}, encoder_, {}).error().code, Code::kNotFound);
  EXPECT_EQ(Dataset::Open({}, encoder_, {}).error().code, Code::kInvalidArgument);
}

TEST_F(Data, AFileThatShrinksIsDamagedNotBad) {
  std::string text;
  for (int i = 0; i < 4000; ++i) text += "{\"text\": \"~~\"}\n";
  const std::string path = Write("s.jsonl", text);
  Dataset data = Open({path}, {.shuffle = false, .skip_bad_lines = true});
  ASSERT_EQ(::truncate(path.c_str(), 0), 0);
  Sequence sequence;
  EXPECT_EQ(data.Next(100, sequence).error().code, Code::kDamaged);
}

TEST_F(Data, TheHashIsFnv1aOfAllBytes) {
  EXPECT_EQ(Open({Write("h.jsonl", "foobar")}).hash(), 0x85944171f73967e8u);  // a published test vector
  EXPECT_EQ(Open({Write("h1.jsonl", "foo"), Write("h2.jsonl", "bar")}).hash(), 0x85944171f73967e8u);
}

}  // namespace
}  // namespace minke
