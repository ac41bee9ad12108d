#include "minke/cli/machine.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace minke {
namespace {

namespace fs = std::filesystem;

TEST(Machine, IsRead) {
  const Machine machine = ReadMachine();
  EXPECT_FALSE(machine.architecture.empty());
  EXPECT_GE(machine.cores_online, 1);
  EXPECT_GT(machine.memory_bytes, int64_t{64} << 20);
  EXPECT_GT(machine.available_bytes, 0);
  EXPECT_EQ(machine.cpu.find('\n'), std::string::npos);
}

TEST(Machine, DiskMeasurementLeavesNothingBehind) {
  std::string name = (fs::temp_directory_path() / "minke_machine_test_XXXXXX").string();
  const fs::path folder = ::mkdtemp(name.data());
  const auto speed = MeasureDiskRead(folder.string());
  ASSERT_TRUE(speed) << speed.error().message;
  EXPECT_GT(speed->bytes_per_s, 0);
  EXPECT_TRUE(fs::is_empty(folder));
  fs::remove_all(folder);
  const auto missing = MeasureDiskRead(folder.string());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kFailed);
}

}  // namespace
}  // namespace minke
