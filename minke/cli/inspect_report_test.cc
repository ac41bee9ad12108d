#include "minke/cli/inspect_report.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "minke/tensor/safetensors.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

ModelPath FolderPath(const std::string& folder) { return {folder, folder, ""}; }

// A copy of the golden FP8 case whose bytes a test may change.
class VerifyCheckpointTest : public testing::Test {
 protected:
  VerifyCheckpointTest() {
    std::string name = (fs::temp_directory_path() / "minke_inspect_test_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    path_ = (folder_ / "model.safetensors").string();
    fs::copy(MINKE_TEST_DATA "/golden/v32_fp8/model.safetensors", path_);
  }
  ~VerifyCheckpointTest() override { fs::remove_all(folder_); }

  void Poke(const std::string& tensor, size_t offset, std::string_view bytes) {
    const auto file = OpenSafetensors(path_).value();
    const size_t place = static_cast<size_t>(file->Find(tensor)->bytes.data() - file->file().bytes().data()) + offset;
    std::fstream stream(path_, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(place));
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  Verification Verify() {
    const auto checkpoint = Checkpoint::Open(path_);
    EXPECT_TRUE(checkpoint);
    ThreadPool pool(2);
    return VerifyCheckpoint(**checkpoint, pool, /*show_progress=*/false);
  }

  fs::path folder_;
  std::string path_;
};

constexpr const char* kCodes = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight";  // [80, 192]
constexpr const char* kScales = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight_scale_inv";

TEST_F(VerifyCheckpointTest, SoundFilesHaveNothing) {
  const Verification result = Verify();
  EXPECT_TRUE(result.problem);
  EXPECT_TRUE(result.json.at("bad").empty());
  EXPECT_EQ(result.json.at("bytes"), 1371120);
}

TEST_F(VerifyCheckpointTest, NamesTheTensorAndThePlace) {
  Poke(kCodes, 192 * 3 + 5, "\x7F");
  Poke(kCodes, 192 * 7, "\xFF");
  const Verification result = Verify();
  ASSERT_FALSE(result.problem);
  EXPECT_EQ(result.problem.error().code, Code::kDamaged);
  for (const std::string& part : {path_, std::string(kCodes), std::string("nan at [3, 5] and 2 such in all")})
    EXPECT_NE(result.problem.error().message.find(part), std::string::npos) << result.problem.error().message;
  ASSERT_EQ(result.json.at("bad").size(), 1u);
  EXPECT_EQ(result.json.at("bad")[0].at("place"), "[3, 5]");
}

TEST_F(VerifyCheckpointTest, ScalesMustBePositive) {
  for (const std::string& bytes :
       {std::string("\0\0\0\0", 4), std::string("\0\0\x80\xBF", 4), std::string("\0\0\xC0\x7F", 4)}) {
    Poke(kScales, 4, bytes);
    const Verification result = Verify();
    ASSERT_FALSE(result.problem);
    EXPECT_NE(result.problem.error().message.find(kScales), std::string::npos) << result.problem.error().message;
    EXPECT_NE(result.problem.error().message.find("positive and finite"), std::string::npos);
  }
}

TEST_F(VerifyCheckpointTest, AFileThatShrinksIsNotCalledSound) {
  const auto checkpoint = Checkpoint::Open(path_);
  ASSERT_TRUE(checkpoint);
  fs::resize_file(path_, 40000);
  ThreadPool pool(2);
  const Verification result = VerifyCheckpoint(**checkpoint, pool, false);
  ASSERT_FALSE(result.problem);
  EXPECT_EQ(result.problem.error().code, Code::kDamaged);
}

TEST(InspectReport, NanoForPeopleAndScripts) {
  const auto model = Model::Open(MINKE_TEST_DATA "/nano-hf");
  ASSERT_TRUE(model) << model.error().message;
  const TextFacts text = DescribeText(FolderPath(MINKE_TEST_DATA "/nano-hf"), (*model)->config());
  EXPECT_TRUE(text.problem) << text.problem.error().message;
  EXPECT_TRUE(text.lacks.empty());
  const Json report = {{"version", 1},
                       {"model", "nano"},
                       {"path", "somewhere"},
                       {"architecture", ArchitectureJson((*model)->config())},
                       {"tensors", TensorsJson((*model)->checkpoint(), &(*model)->config(), /*list=*/true)},
                       {"cache", {{"bytes_per_token", 1920}}},
                       {"tokenizer", text.tokenizer},
                       {"prompt_format", text.prompt_format},
                       {"unused", {"a.weight"}},
                       {"unsupported", Json::array()},
                       {"problems", Json::array()}};
  EXPECT_EQ(report["tensors"]["count"], 198);
  EXPECT_EQ(report["tensors"]["list"].size(), 198u);
  EXPECT_EQ(report["architecture"]["indexer"]["topk"], 32);
  const std::string shown = ReportText(report);
  for (const char* part :
       {"deepseek_v32: 4 layers (1 dense, 3 MoE) and 1 MTP layer", "32 of the context", "2 of 8 and 1 shared",
        "198 in 2 files", "BF16", "model.norm.weight BF16 [128]", "unused        a.weight"})
    EXPECT_NE(shown.find(part), std::string::npos) << part << "\n" << shown;
}

TEST(InspectReport, AFolderWithoutTokenizerLacksText) {
  const auto config = ParseModelConfig(R"({"model_type": "deepseek_v32"})", "x").value();
  const TextFacts text = DescribeText(FolderPath(MINKE_TEST_DATA "/golden/v32"), config);
  EXPECT_TRUE(text.problem);
  ASSERT_EQ(text.lacks.size(), 1u);
  EXPECT_TRUE(text.tokenizer.is_null());
}

TEST(InspectReport, ATokenizerLargerThanTheModelIsDamage) {
  auto config = ParseModelConfig(R"({"model_type": "deepseek_v32", "vocab_size": 100})", "x").value();
  const TextFacts text = DescribeText(FolderPath(MINKE_TEST_DATA "/nano-hf"), config);
  ASSERT_FALSE(text.problem);
  EXPECT_NE(text.problem.error().message.find("the model has 100 rows"), std::string::npos);
}

}  // namespace
}  // namespace minke
