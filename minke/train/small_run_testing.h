// A run small enough to be done many times in a test: a byte tokenizer, a model with every kind of part (MLA, indexer,
// experts in groups, MTP), documents, a folder of its own.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "minke/base/file.h"
#include "minke/base/json.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/parameters.h"
#include "minke/text/bpe_trainer.h"
#include "minke/text/chat_template.h"
#include "minke/text/tokenizer.h"
#include "minke/train/document.h"
#include "minke/train/train_config.h"
#include "minke/train/trainer.h"

namespace minke {

inline const KernelSet& TestKernels() { return **ChooseKernelSet(""); }

// A folder of the running test's own, removed with the fixture.
class SmallRun : public testing::Test {
 protected:
  SmallRun() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    TrainedBpe bpe = *BpeTrainer().Train([] {
      BpeTrainerOptions options = DeepSeekTokens();
      options.vocab_size = 272;
      return options;
    }());
    tokenizer_ = std::move(*Tokenizer::Parse(bpe.TokenizerJson(), "test"));
    Json json = *ParseJson(*ReadFile(MINKE_TEST_DATA "/golden/gradients/config.json", kMaxConfigBytes), "config");
    json.merge_patch(*ParseJson(R"({"num_hidden_layers": 2, "vocab_size": 272, "n_group": 2, "topk_group": 1,
                                    "index_topk": 8})",
                                "patch"));
    config_ = *ParseModelConfig(json.dump(), "config");
    files_ = {.config = json,
              .folder = "",
              .texts = {{"tokenizer.json", bpe.TokenizerJson()}, {"tokenizer_config.json", bpe.TokenizerConfigJson()}}};
    encoder_ = std::make_unique<DocumentEncoder>(*DocumentEncoder::Create(*tokenizer_, choice_, {}));
  }
  ~SmallRun() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<Parameters> NewModel(double sigma = 0.1) const {
    return std::move(*Parameters::Random(config_, 5, sigma));
  }
  // What the model reads, its own copies of vectors included.
  static std::unique_ptr<Parameters> SeenByModel(const Parameters& parameters) {
    return std::move(*Parameters::Copy(*parameters.model(), TestKernels(), Parameters::MtpCopies::kShared));
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name)) << text;
    return Path(name);
  }
  // Texts and answers that repeat themselves, so that there is something to learn.
  std::string WriteTexts(const std::string& name, int lines) const {
    std::string text;
    for (int i = 0; i < lines; ++i) text += fmt::format("{{\"text\": \"{0}{0}ab{1}{0}\"}}\n", i % 7, i);
    return Write(name, text);
  }
  std::string WriteMessages(const std::string& name, int lines) const {
    std::string text;
    for (int i = 0; i < lines; ++i)
      text += fmt::format(
          "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{0}?\"}}, {{\"role\": \"assistant\", "
          "\"content\": \"{0}{0}\"}}]}}\n",
          i);
    return Write(name, text);
  }

  static std::string Bytes(const std::string& path) {
    auto text = ReadFile(path, int64_t{1} << 30);
    EXPECT_TRUE(text) << path;
    return text ? *text : "";
  }
  // Every file below `path`, by its name.
  static std::map<std::string, std::string> AllBytes(const std::string& path) {
    std::map<std::string, std::string> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path))
      if (entry.is_regular_file()) all[entry.path().lexically_relative(path).string()] = Bytes(entry.path().string());
    return all;
  }

  const std::string folder_ = testing::TempDir() + "minke-train-" +
                              testing::UnitTest::GetInstance()->current_test_info()->test_suite_name() +
                              std::string("-") + testing::UnitTest::GetInstance()->current_test_info()->name();
  const TemplateChoice choice_;
  ModelConfig config_;
  ModelFiles files_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<DocumentEncoder> encoder_;
};

}  // namespace minke
