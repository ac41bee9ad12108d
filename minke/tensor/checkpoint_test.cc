#include "minke/tensor/checkpoint.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "minke/base/json.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() {
    std::string name = (fs::temp_directory_path() / "minke_checkpoint_test_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~CheckpointTest() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  // A file with the named tensors, one U8 each, holding 1, 2, ...
  void Shard(const std::string& name, const std::vector<std::string>& tensors) const {
    Json header;
    std::string data;
    for (size_t i = 0; i < tensors.size(); ++i) {
      header[tensors[i]] = {{"dtype", "U8"}, {"shape", {1}}, {"data_offsets", {i, i + 1}}};
      data += static_cast<char>(i + 1);
    }
    const std::string text = DumpJson(header);
    const uint64_t length = text.size();
    Text(name, std::string(reinterpret_cast<const char*>(&length), 8) + text + data);
  }
  void Index(const Json& weight_map) const {
    Text("model.safetensors.index.json", DumpJson(Json{{"metadata", {{"total_size", 1}}}, {"weight_map", weight_map}}));
  }
  void Text(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name), std::ios::binary) << text;
  }
  void ExpectError(const std::string& path, Code code, const std::string& part) const {
    const auto checkpoint = Checkpoint::Open(path);
    ASSERT_FALSE(checkpoint);
    EXPECT_EQ(checkpoint.error().code, code) << checkpoint.error().message;
    EXPECT_NE(checkpoint.error().message.find(part), std::string::npos) << checkpoint.error().message;
  }
  void ExpectDamaged(const std::string& part) const { ExpectError(folder_.string(), Code::kDamaged, part); }

  fs::path folder_;
};

TEST_F(CheckpointTest, OneFile) {
  Shard("model.safetensors", {"a", "b"});
  for (const std::string& path : {folder_.string(), folder_.string() + "/", Path("model.safetensors")}) {
    const auto checkpoint = Checkpoint::Open(path);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    EXPECT_EQ((*checkpoint)->Names(), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ((*checkpoint)->total_bytes(), 2);
    EXPECT_EQ((*checkpoint)->Find("b")->bytes[0], std::byte{2});
    EXPECT_EQ((*checkpoint)->Find("c"), nullptr);
    EXPECT_EQ((*checkpoint)->FileOf("c"), "");
    EXPECT_TRUE((*checkpoint)->Health());
  }
}

TEST_F(CheckpointTest, ShardsThroughAnIndex) {
  Shard("x-1.safetensors", {"a", "c"});
  Shard("x-2.safetensors", {"b"});
  Index({{"a", "x-1.safetensors"}, {"b", "x-2.safetensors"}, {"c", "x-1.safetensors"}});
  for (const std::string& path : {folder_.string(), Path("model.safetensors.index.json")}) {
    const auto checkpoint = Checkpoint::Open(path);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    EXPECT_EQ((*checkpoint)->Names(), (std::vector<std::string>{"a", "b", "c"}));
    EXPECT_EQ((*checkpoint)->FileOf("b"), Path("x-2.safetensors"));
    EXPECT_EQ((*checkpoint)->files().size(), 2u);
  }
}

TEST_F(CheckpointTest, HundredsOfShards) {
  Json map;
  for (int i = 0; i < 200; ++i) {
    const std::string file = fmt::format("model-{}.safetensors", i);
    Shard(file, {std::to_string(i)});
    map[std::to_string(i)] = file;
  }
  Index(map);
  const auto checkpoint = Checkpoint::Open(folder_.string());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ((*checkpoint)->files().size(), 200u);
}

// The hub's cache: snapshots/REV/FILE -> ../../blobs/HASH, and the whole folder may be a link too.
TEST_F(CheckpointTest, SymbolicLinksAreFollowed) {
  fs::create_directories(Path("blobs"));
  fs::create_directories(Path("snapshots/rev"));
  Shard("blobs/123", {"a"});
  std::ofstream(Path("blobs/456")) << R"({"weight_map":{"a":"model-00001-of-00001.safetensors"}})";
  fs::create_symlink("../../blobs/123", Path("snapshots/rev/model-00001-of-00001.safetensors"));
  fs::create_symlink("../../blobs/456", Path("snapshots/rev/model.safetensors.index.json"));
  fs::create_symlink("snapshots/rev", Path("linked"));
  for (const char* folder : {"snapshots/rev", "linked"}) {
    const auto checkpoint = Checkpoint::Open(Path(folder));
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    EXPECT_TRUE((*checkpoint)->Find("a"));
  }
}

TEST_F(CheckpointTest, NothingThere) {
  ExpectError(Path("none"), Code::kNotFound, "no such file or folder");
  ExpectError(folder_.string(), Code::kNotFound, "neither model.safetensors nor");
  fs::create_symlink("nowhere", Path("model.safetensors"));
  ExpectError(folder_.string(), Code::kNotFound, "neither model.safetensors nor");
}

TEST_F(CheckpointTest, IndexNamesAMissingFile) {
  Shard("x-1.safetensors", {"a"});
  Index({{"a", "x-1.safetensors"}, {"b", "x-2.safetensors"}});
  ExpectDamaged("names the file x-2.safetensors, which is missing");
}

TEST_F(CheckpointTest, IndexMustStayInItsFolder) {
  fs::create_directory(Path("inner"));
  Shard("outside.safetensors", {"a"});
  for (const std::string& name :
       {std::string("../outside.safetensors"), std::string("x/../../outside.safetensors"), Path("outside.safetensors"),
        std::string(".."), std::string(""), std::string("a\0b", 3)}) {
    std::ofstream(Path("inner/model.safetensors.index.json")) << DumpJson(Json{{"weight_map", {{"a", name}}}});
    ExpectError(Path("inner"), Code::kDamaged, "which is not inside the folder");
  }
  std::ofstream(Path("inner/model.safetensors.index.json")) << R"({"weight_map":{"a":"sub/x..y.safetensors"}})";
  ExpectError(Path("inner"), Code::kDamaged, "which is missing");  // a subfolder and dots in a name are fine
}

TEST_F(CheckpointTest, IndexNamesATensorThatIsNotThere) {
  Shard("x-1.safetensors", {"a"});
  Shard("x-2.safetensors", {"b"});
  Index({{"a", "x-1.safetensors"}, {"b", "x-1.safetensors"}});
  ExpectDamaged("tensor b is not in x-1.safetensors");
  Index({{"a", "x-2.safetensors"}, {"b", "x-1.safetensors"}});
  ExpectDamaged("tensor a is not in x-2.safetensors");
  Index({{"a", "x-1.safetensors"}, {"ghost", "x-2.safetensors"}});
  ExpectDamaged("tensor ghost is not in x-2.safetensors");
}

TEST_F(CheckpointTest, ATensorInTwoShards) {
  Shard("x-1.safetensors", {"a", "b"});
  Shard("x-2.safetensors", {"b"});
  Index({{"a", "x-1.safetensors"}, {"b", "x-2.safetensors"}});
  ExpectDamaged("x-2.safetensors: tensor b is also in");
}

TEST_F(CheckpointTest, TensorsThatTheIndexForgotAreKept) {
  Shard("x-1.safetensors", {"a", "extra"});
  Index({{"a", "x-1.safetensors"}});
  const auto checkpoint = Checkpoint::Open(folder_.string());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_TRUE((*checkpoint)->Find("extra"));
}

TEST_F(CheckpointTest, BadIndexes) {
  for (const auto& [text, part] : std::vector<std::pair<const char*, const char*>>{
           {"", "not valid JSON"},
           {"[]", "no object \"weight_map\""},
           {"{}", "no object \"weight_map\""},
           {R"({"weight_map":[]})", "no object \"weight_map\""},
           {R"({"weight_map":{}})", "weight_map is empty"},
           {R"({"weight_map":{"a":1}})", "the file of tensor a is not a string"},
           {R"({"weight_map":{"a":"x","a":"y"}})", "\"a\" appears twice"}}) {
    Text("model.safetensors.index.json", text);
    ExpectDamaged(part);
  }
}

TEST_F(CheckpointTest, ATruncatedShard) {
  Shard("x-1.safetensors", {"a", "b"});
  Index({{"a", "x-1.safetensors"}, {"b", "x-1.safetensors"}});
  fs::resize_file(Path("x-1.safetensors"), fs::file_size(Path("x-1.safetensors")) - 1);
  ExpectDamaged("x-1.safetensors: tensor b ends at byte 2 of the data, which has 1; was the file cut short?");
  fs::resize_file(Path("x-1.safetensors"), 0);
  ExpectDamaged("has 0 bytes");
  fs::remove(Path("x-1.safetensors"));
  fs::create_directory(Path("x-1.safetensors"));
  ExpectDamaged("names the file x-1.safetensors, which is missing or no file");
}

TEST_F(CheckpointTest, ATensorWithoutElements) {
  const std::string text = R"({"a":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]}})";
  const uint64_t length = text.size();
  Text("model.safetensors", std::string(reinterpret_cast<const char*>(&length), 8) + text);
  ExpectDamaged("model.safetensors: tensor a has the shape [0, 4], so it holds nothing");
}

TEST_F(CheckpointTest, HealthSaysWhichFileShrank) {
  Shard("x-1.safetensors", {"a"});
  Shard("x-2.safetensors", {"b"});
  Index({{"a", "x-1.safetensors"}, {"b", "x-2.safetensors"}});
  const auto checkpoint = Checkpoint::Open(folder_.string());
  ASSERT_TRUE(checkpoint);
  fs::resize_file(Path("x-2.safetensors"), 0);
  EXPECT_EQ((*checkpoint)->Find("a")->bytes[0], std::byte{1});
  EXPECT_TRUE((*checkpoint)->Health());
  EXPECT_EQ((*checkpoint)->Find("b")->bytes[0], std::byte{0});
  const Status health = (*checkpoint)->Health();
  ASSERT_FALSE(health);
  EXPECT_EQ(health.error().code, Code::kDamaged);
  EXPECT_NE(health.error().message.find("x-2.safetensors"), std::string::npos);
}

}  // namespace
}  // namespace minke
