#include "minke/base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

namespace minke {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string name = (fs::temp_directory_path() / "minke_file_test_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~FileTest() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  std::string Make(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name), std::ios::binary) << text;
    return Path(name);
  }
  static std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

  fs::path folder_;
};

const size_t kPage = static_cast<size_t>(::sysconf(_SC_PAGESIZE));

TEST_F(FileTest, ReadsWhatIsThere) {
  EXPECT_EQ(ReadFile(Make("a", "hello"), 100).value(), "hello");
  EXPECT_EQ(ReadFile(Make("empty", ""), 0).value(), "");
  EXPECT_EQ(ReadFile(Path("a"), 5).value(), "hello");
  const auto too_long = ReadFile(Path("a"), 4);
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().code, Code::kDamaged);
  const std::string big(3'000'000, 'x');
  EXPECT_EQ(ReadFile(Make("big", big), 1 << 24).value(), big);
}

TEST_F(FileTest, ReadsFilesThatStateNoSize) {
  EXPECT_FALSE(ReadFile("/proc/self/status", 1 << 20)->empty());
  const auto too_long = ReadFile("/proc/self/status", 10);
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().code, Code::kDamaged);
}

TEST_F(FileTest, WhatIsNotAFileIsRefusedWithoutWaiting) {
  ASSERT_EQ(::mkfifo(Path("pipe").c_str(), 0600), 0);
  fs::create_directory(Path("folder"));
  for (const std::string& path : {Path("pipe"), Path("folder"), std::string("/dev/zero")}) {
    const auto text = ReadFile(path, 100);
    ASSERT_FALSE(text) << path;
    EXPECT_EQ(text.error().code, Code::kFailed);
    const auto mapped = MappedFile::Open(path);
    ASSERT_FALSE(mapped) << path;
    EXPECT_EQ(mapped.error().code, Code::kFailed);
    EXPECT_NE(mapped.error().message.find(path), std::string::npos);
  }
}

TEST_F(FileTest, MissingIsNotFound) {
  const std::string long_name(5000, 'x');
  Make("file", "x");
  for (const std::string& path : {Path("none"), Path("none/deeper"), Path("file/below"), Path(long_name), std::string(),
                                  std::string("/\0etc", 5)}) {
    EXPECT_EQ(ReadFile(path, 100).error().code, Code::kNotFound);
    EXPECT_EQ(MappedFile::Open(path).error().code, Code::kNotFound);
  }
}

TEST_F(FileTest, WritesAndReplaces) {
  const std::string path = Path("out");
  ASSERT_TRUE(WriteFileAtomic(path, Bytes("one")));
  EXPECT_EQ(ReadFile(path, 100).value(), "one");
  const std::vector<std::span<const std::byte>> pieces = {Bytes("tw"), Bytes(""), Bytes("o!")};
  ASSERT_TRUE(WriteFileAtomic(path, pieces));
  EXPECT_EQ(ReadFile(path, 100).value(), "two!");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1) << "a temporary file is left";
}

TEST_F(FileTest, WriteFollowsALink) {
  Make("target", "old");
  fs::create_symlink("target", Path("link"));
  ASSERT_TRUE(WriteFileAtomic(Path("link"), Bytes("new")));
  EXPECT_TRUE(fs::is_symlink(Path("link")));
  EXPECT_EQ(ReadFile(Path("target"), 100).value(), "new");
}

// A pipe of our own stands in for a device: a broken check must not be able to replace /dev/null.
TEST_F(FileTest, WriteReplacesFilesOnly) {
  fs::create_directory(Path("folder"));
  ASSERT_EQ(::mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_FALSE(WriteFileAtomic(Path("folder"), Bytes("x")));
  EXPECT_FALSE(WriteFileAtomic(Path("pipe"), Bytes("x")));
  EXPECT_TRUE(fs::is_fifo(Path("pipe")));
  EXPECT_EQ(WriteFileAtomic(Path("none/out"), Bytes("x")).error().code, Code::kNotFound);
}

TEST_F(FileTest, AFailedWriteLeavesTheOldFile) {
  const std::string path = Make("out", "old");
  // A limit on the size of files stands in for a full disk.
  struct rlimit limit, small;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  small = limit;
  small.rlim_cur = 1000;
  ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status written = WriteFileAtomic(path, Bytes(std::string(5000, 'x')));
  ::setrlimit(RLIMIT_FSIZE, &limit);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Code::kFailed);
  EXPECT_EQ(ReadFile(path, 100).value(), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1) << "a temporary file is left";
}

TEST_F(FileTest, MapsAndMoves) {
  auto first = MappedFile::Open(Make("a", "first"));
  auto second = MappedFile::Open(Make("b", "second"));
  ASSERT_TRUE(first && second);
  EXPECT_TRUE(std::ranges::equal(first->bytes(), Bytes("first")));
  MappedFile moved = std::move(*first);
  EXPECT_TRUE(std::ranges::equal(moved.bytes(), Bytes("first")));
  moved = std::move(*second);
  EXPECT_TRUE(std::ranges::equal(moved.bytes(), Bytes("second")));
  EXPECT_EQ(moved.path(), Path("b"));
  EXPECT_TRUE(moved.Health());
}

TEST_F(FileTest, AnEmptyFileMapsToNothing) {
  const auto file = MappedFile::Open(Make("empty", ""));
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->bytes().empty());
  EXPECT_TRUE(file->Health());
}

TEST_F(FileTest, AShrunkFileReadsAsZerosAndSaysSo) {
  const std::string path = Make("shrinks", std::string(4 * kPage, 'x'));
  const std::string other_path = Make("stays", std::string(kPage, 'y'));
  const auto file = MappedFile::Open(path);
  const auto other = MappedFile::Open(other_path);
  ASSERT_TRUE(file && other);
  fs::resize_file(path, kPage);
  EXPECT_TRUE(file->Health()) << "nothing was touched yet";
  EXPECT_EQ(file->bytes()[2 * kPage + 5], std::byte{0});
  EXPECT_EQ(file->bytes()[4 * kPage - 1], std::byte{0});
  EXPECT_EQ(file->bytes()[0], std::byte{'x'});
  EXPECT_EQ(file->bytes()[kPage], std::byte{0}) << "a second fault below the first";
  const Status health = file->Health();
  ASSERT_FALSE(health);
  EXPECT_EQ(health.error().code, Code::kDamaged);
  EXPECT_NE(health.error().message.find(path), std::string::npos);
  EXPECT_TRUE(other->Health());
  EXPECT_EQ(other->bytes()[0], std::byte{'y'});
  // The place in the table is clean for the next file.
  {
    const MappedFile gone = std::move(const_cast<MappedFile&>(*file));
  }
  EXPECT_TRUE(MappedFile::Open(other_path)->Health());
}

TEST_F(FileTest, ThreadsMayFaultTogether) {
  const std::string path = Make("shrinks", std::string(64 * kPage, 'x'));
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file);
  fs::resize_file(path, 0);
  std::vector<std::thread> threads;
  std::atomic<int64_t> sum{0};
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (size_t page = 64; page-- > 0;) sum += static_cast<int>(file->bytes()[page * kPage + t]);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum.load(), 0);
  EXPECT_FALSE(file->Health());
}

TEST_F(FileTest, HundredsOfFilesMayBeMapped) {
  std::vector<MappedFile> files;
  for (int i = 0; i < 300; ++i) {
    auto file = MappedFile::Open(Make(std::to_string(i), std::to_string(i)));
    ASSERT_TRUE(file) << file.error().message;
    files.push_back(std::move(*file));
  }
  EXPECT_TRUE(std::ranges::equal(files[299].bytes(), Bytes("299")));
}

using FileDeathTest = FileTest;

TEST_F(FileDeathTest, SigbusOfOthersStillEndsTheProcess) {
  const std::string path = Make("foreign", std::string(2 * kPage, 'x'));
  const auto ours = MappedFile::Open(path);  // installs the handler
  ASSERT_TRUE(ours);
  EXPECT_DEATH(::raise(SIGBUS), "");
  const auto touch_foreign = [&] {
    const int fd = ::open(path.c_str(), O_RDONLY);
    const auto* data = static_cast<const volatile char*>(::mmap(nullptr, 2 * kPage, PROT_READ, MAP_SHARED, fd, 0));
    fs::resize_file(path, 0);
    static_cast<void>(data[kPage]);
  };
  EXPECT_DEATH(touch_foreign(), "");
}

}  // namespace
}  // namespace minke
