#include "minke/train/config_file.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

ConfigFile Parsed(std::string_view text) {
  auto file = ConfigFile::Parse(text, "c.toml");
  EXPECT_TRUE(file) << (file ? "" : file.error().message);
  return file ? std::move(*file) : std::move(*ConfigFile::Parse("", "c.toml"));
}
std::string Message(const Status& status) { return status ? "" : status.error().message; }

TEST(ConfigFile, ReadsEveryKind) {
  ConfigFile file = Parsed(R"(
stage = "sft"
steps = 1e3
[optimizer]
lr = 2
betas = [0.9, 0.95]
decay = true
files = "one.jsonl"
sizes = [1, 2_000]
[[data]]
weight = 0.5
[[data]]
weight = 0.25
)");
  std::string stage, schedule = "cosine";
  int64_t steps = 0;
  int threads = 7;
  double lr = 0;
  bool decay = false;
  std::vector<double> betas;
  std::vector<int64_t> sizes;
  std::vector<std::string> files;
  ConfigSection root = file.root();
  root.Choice("stage", stage, {"pretrain", "sft"});
  root.Number("steps", steps, 1, 1 << 30);
  root.Number("threads", threads, 1, 8);
  ConfigSection optimizer = file.Section("optimizer");
  optimizer.Number("lr", lr, 0.0, 10.0);
  optimizer.Numbers("betas", betas, 0.0, 1.0);
  optimizer.Numbers("sizes", sizes, 1, 3000);
  optimizer.Flag("decay", decay);
  optimizer.Texts("files", files);
  optimizer.Text("schedule", schedule);
  std::vector<double> weights;
  for (ConfigSection data : root.Sections("data")) data.Number("weight", weights.emplace_back(), 0.0, 1.0);
  EXPECT_EQ(Message(file.Finish()), "");
  EXPECT_EQ(stage, "sft");
  EXPECT_EQ(schedule, "cosine");  // absent: as it was
  EXPECT_EQ(threads, 7);
  EXPECT_EQ(steps, 1000);
  EXPECT_EQ(lr, 2.0);
  EXPECT_EQ(betas, (std::vector<double>{0.9, 0.95}));
  EXPECT_EQ(sizes, (std::vector<int64_t>{1, 2000}));
  EXPECT_TRUE(decay);
  EXPECT_EQ(files, std::vector<std::string>{"one.jsonl"});
  EXPECT_EQ(weights, (std::vector<double>{0.5, 0.25}));
}

TEST(ConfigFile, NamesEveryUnknownKeyWithItsLineAndTheNearest) {
  ConfigFile file = Parsed("sateg = 1\n[optimizer]\nlearning_rat = 1\n[optimiser]\nx = 1\n[[data]]\nfile = 1\n");
  std::string text;
  double lr = 0;
  ConfigSection root = file.root();
  root.Text("stage", text);
  file.Section("optimizer").Number("learning_rate", lr, 0.0, 1.0);
  for (ConfigSection data : root.Sections("data")) data.Text("files", text);
  EXPECT_EQ(Message(file.Finish()),
            "c.toml:1: unknown key sateg: did you mean stage?; "
            "c.toml:3: unknown key optimizer.learning_rat: did you mean learning_rate?; "
            "c.toml:4: unknown section [optimiser]: did you mean optimizer?; "
            "c.toml:7: unknown key data.file: did you mean files?");
}

TEST(ConfigFile, SaysWhatWasFoundAndWhatIsExpected) {
  ConfigFile file = Parsed("a = \"x\"\nb = 1.5\nc = 99\nd = nan\ne = \"green\"\nf = [1, true]\ng = 1\nh = 3\nj = 1\n");
  int64_t whole = 5;
  double number = 6;
  std::string text = "7";
  std::vector<int64_t> list = {8};
  ConfigSection root = file.root();
  root.Flag("a", *std::make_unique<bool>());
  root.Number("b", whole, 0, INT64_MAX);
  root.Number("c", whole, 1, 9);
  root.Number("d", number, 0.0, 1.0);
  root.Choice("e", text, {"red", "blue"});
  root.Numbers("f", list, 0, 9);
  root.Section("g");
  root.Number("h", number, 0.0, 9.0);
  root.Need("i");
  root.Refuse({"h", "a"}, "needs a");  // which could not be read
  const std::string found = Message(file.Finish());
  for (const char* part :
       {"c.toml:1: a is \"x\", expected true or false", "c.toml:2: b is 1.5, expected a whole number of at least 0",
        "c.toml:3: c is 99, expected a whole number from 1 to 9", "c.toml:4: d is nan, expected a number from 0 to 1",
        "c.toml:5: e is \"green\", expected one of \"red\", \"blue\"",
        "c.toml:6: f[1] is true, expected a whole number from 0 to 9", "c.toml:7: g is 1, expected a section [g]",
        "c.toml: i is missing", "and 1 more"})
    EXPECT_NE(found.find(part), std::string::npos) << part << "\n" << found;
  EXPECT_EQ(found.find("needs a"), std::string::npos) << found;
  EXPECT_EQ(whole, 5);  // wrong values change nothing
  EXPECT_EQ(list, std::vector<int64_t>{8});
  EXPECT_EQ(found.find('\n'), std::string::npos);
}

TEST(ConfigFile, ValuesThatDoNotGoTogetherAreRefusedAtTheirLine) {
  ConfigFile file = Parsed("a = 1\nb = 2\n");
  int64_t number = 0;
  ConfigSection root = file.root();
  for (const char* key : {"a", "b"}) root.Number(key, number, 0, 9);
  root.Need("c");
  root.Refuse({"b", "a"}, "more than a");
  root.Refuse({"b", "c"}, "less than c");
  EXPECT_EQ(Message(file.Finish()), "c.toml: c is missing; c.toml:2: b: more than a");
}

TEST(ConfigFile, RefusesWhatIsNoToml) {
  for (const char* text : {"a = ", "a = 1\na = 2", "[a\n", "a = \"\xff\"", "= 1"}) {
    const auto file = ConfigFile::Parse(text, "c.toml");
    ASSERT_FALSE(file) << text;
    EXPECT_TRUE(file.error().message.starts_with("c.toml:")) << file.error().message;
    EXPECT_EQ(file.error().code, Code::kInvalidArgument);
  }
  const auto second = ConfigFile::Parse("a = 1\nb = \n", "c.toml");
  EXPECT_TRUE(second.error().message.starts_with("c.toml:2: not valid TOML: ")) << second.error().message;
}

TEST(ConfigFile, NothingNestsUntilTheStackIsUsedUp) {
  std::string names = "[a", lists = "a = ", tables;
  for (int i = 0; i < 200'000; ++i) names += ".a", lists += "[";
  for (int i = 0; i < 100; ++i) {
    tables += "a";
    for (int j = 0; j < 99; ++j) tables += ".a";
    tables += " = {";
  }
  for (const std::string& text : {names + "]\n", lists, tables})
    EXPECT_FALSE(ConfigFile::Parse(text, "c.toml")) << text.substr(0, 20);
  EXPECT_TRUE(ConfigFile::Parse("path = \"" + std::string(300, '.') + "/../../x\"", "c.toml"));
}

}  // namespace
}  // namespace minke
