#include "minke/base/file_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "minke/base/page_memory.h"

namespace minke {
namespace {

namespace fs = std::filesystem;
using Mode = FileReader::Mode;

constexpr int64_t kBlock = FileReader::kAlign;
constexpr int64_t kFileBytes = 700 * kBlock + 123;  // several pieces, and an end inside a block

class FileReaderTest : public testing::TestWithParam<Mode> {
 protected:
  FileReaderTest() {
    std::string name = (fs::temp_directory_path() / "minke_file_reader_test_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    text_.resize(kFileBytes);
    for (size_t i = 0; i < text_.size(); ++i) text_[i] = static_cast<char>((i * 2654435761u) >> 13);
    std::ofstream(Path(), std::ios::binary) << text_;
    auto memory = PageMemory::Take(kFileBytes + kBlock, HugePages::kAuto);
    EXPECT_TRUE(memory.has_value());
    if (memory) memory_ = std::move(*memory);
    std::memset(memory_.data(), 7, kFileBytes + kBlock);
  }
  ~FileReaderTest() override { fs::remove_all(folder_); }

  std::string Path() const { return (folder_ / "data").string(); }
  std::unique_ptr<FileReader> Open() {
    const std::string path = Path();
    auto reader = FileReader::Create({&path, 1}, GetParam());
    EXPECT_TRUE(reader.has_value()) << reader.error().message;
    return std::move(*reader);
  }
  // Blocks [begin, end) to their own place in memory.
  void Set(FileReader::Job& job, int64_t begin, int64_t end) {
    job.offset = begin * kBlock, job.bytes = (end - begin) * kBlock, job.to = memory_.data() + job.offset;
  }
  bool Equal(int64_t begin, int64_t bytes) {
    return std::memcmp(memory_.data() + begin, text_.data() + begin, static_cast<size_t>(bytes)) == 0;
  }

  fs::path folder_;
  std::string text_;
  PageMemory memory_;
};

INSTANTIATE_TEST_SUITE_P(, FileReaderTest, testing::Values(Mode::kBuffered, Mode::kDirect),
                         [](const auto& of) { return of.param == Mode::kDirect ? "Direct" : "Buffered"; });

TEST_P(FileReaderTest, ReadsPartsAndTheEndInsideABlock) {
  const auto reader = Open();
  FileReader::Job a, b, c;
  Set(a, 0, 300), Set(b, 300, 301), Set(c, 301, 701);
  reader->Reserve(3);
  reader->Start(c, /*urgent=*/false);
  reader->Start(a, true), reader->Start(b, true);
  for (const FileReader::Job* job : {&a, &b, &c}) reader->Wait(*job);
  EXPECT_TRUE(Equal(0, kFileBytes));
  EXPECT_TRUE(reader->Health().has_value());
}

TEST_P(FileReaderTest, AJobIsCancelledOrRead) {
  const auto reader = Open();
  reader->Reserve(20);
  FileReader::Job jobs[20];
  for (int64_t i = 0; i < 20; ++i) {
    Set(jobs[i], i * 35, (i + 1) * 35);
    reader->Start(jobs[i], false);
  }
  for (int64_t i = 0; i < 20; i += 3) reader->MakeUrgent(jobs[i]);
  for (int64_t i = 19; i >= 0; --i) {
    const bool cancelled = i % 3 == 1 && reader->Cancel(jobs[i]);
    reader->Wait(jobs[i]);
    EXPECT_TRUE(cancelled || Equal(i * 35 * kBlock, 35 * kBlock)) << i;
    if (cancelled) {
      EXPECT_EQ(memory_.data()[i * 35 * kBlock], std::byte{7}) << i;
    }
  }
  EXPECT_TRUE(reader->Health().has_value());
}

TEST_P(FileReaderTest, AFileThatWasCutGivesZerosAndSaysSo) {
  const auto reader = Open();
  fs::resize_file(Path(), 10 * kBlock);
  FileReader::Job whole;
  Set(whole, 0, 701);
  reader->Start(whole, true);
  reader->Wait(whole);
  const Status health = reader->Health();
  ASSERT_FALSE(health.has_value());
  EXPECT_EQ(health.error().code, Code::kDamaged);
  EXPECT_NE(health.error().message.find(Path() + ": ended at byte"), std::string::npos) << health.error().message;
  for (const int64_t at : {11 * kBlock, 600 * kBlock}) EXPECT_EQ(memory_.data()[at], std::byte{0});
}

TEST_P(FileReaderTest, AMissingFileIsNamed) {
  const std::string path = Path() + "-not";
  const auto reader = FileReader::Create({&path, 1}, GetParam());
  ASSERT_FALSE(reader.has_value());
  EXPECT_EQ(reader.error().code, Code::kNotFound);
}

}  // namespace
}  // namespace minke
