#include "minke/base/available_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>

namespace minke {
namespace {

namespace fs = std::filesystem;

// A machine of files.
class AvailableMemoryTest : public testing::Test {
 protected:
  AvailableMemoryTest() : root_(fs::path(testing::TempDir()) / ("memory_" + std::to_string(::getpid()))) {
    Write("/proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n");
  }
  ~AvailableMemoryTest() override { fs::remove_all(root_); }

  void Write(const std::string& name, const std::string& text) {
    const fs::path path = root_.string() + name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  void Group2(const std::string& folder, const std::string& limit, const std::string& used) {
    Write("/sys/fs/cgroup" + folder + "/memory.max", limit + "\n");
    Write("/sys/fs/cgroup" + folder + "/memory.current", used + "\n");
    Write("/sys/fs/cgroup" + folder + "/memory.stat", "anon 5\ninactive_file 10\n");
  }
  void Group1(const std::string& folder, const std::string& limit, const std::string& used) {
    Write("/sys/fs/cgroup/memory" + folder + "/memory.limit_in_bytes", limit + "\n");
    Write("/sys/fs/cgroup/memory" + folder + "/memory.usage_in_bytes", used + "\n");
    Write("/sys/fs/cgroup/memory" + folder + "/memory.stat", "inactive_file 1\ntotal_inactive_file 20\n");
  }
  int64_t Available() const { return AvailableMemoryBytes(root_.string()); }
  int64_t Limit() const { return MemoryLimitBytes(root_.string()); }

  const fs::path root_;
};

TEST_F(AvailableMemoryTest, WithoutGroupsItIsTheMachines) {
  EXPECT_EQ(Available(), 8000 * 1024);
  EXPECT_EQ(Limit(), 0);
  fs::remove_all(root_);
  EXPECT_EQ(Available(), std::numeric_limits<int64_t>::max());
}

TEST_F(AvailableMemoryTest, TheOwnGroupOfVersion2AndAllAboveItCount) {
  Write("/proc/self/cgroup", "0::/user.slice/mine.scope\n");
  Group2("/user.slice/mine.scope", "max", "1");
  Group2("/user.slice", "5000", "1000");
  EXPECT_EQ(Available(), 4010);
  EXPECT_EQ(Limit(), 5000);
  Group2("/user.slice/mine.scope", "3000", "2000");
  EXPECT_EQ(Available(), 1010);
  EXPECT_EQ(Limit(), 3000);
  Group2("", "9000", "8999");  // as inside a container
  EXPECT_EQ(Available(), 11);
  Group2("/user.slice/other.scope", "1", "1");
  EXPECT_EQ(Limit(), 3000);
  Group2("/user.slice", "5000", "7000");
  EXPECT_EQ(Available(), 0);
}

TEST_F(AvailableMemoryTest, SoDoThoseOfVersion1) {
  Write("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/jobs/7\n0::/\n");
  Group1("/jobs/7", "3000", "1000");
  Group1("", "9223372036854771712", "0");  // none
  EXPECT_EQ(Available(), 2020);
  EXPECT_EQ(Limit(), 3000);
}

TEST_F(AvailableMemoryTest, APathOfAnotherNamespaceLeavesTheMount) {
  for (const char* path : {"/docker/0123", "/../../host"}) {
    Write("/proc/self/cgroup", std::string("0::") + path + "\n");
    Group2("", "2000", "500");
    EXPECT_EQ(Available(), 1510) << path;
  }
  for (const char* broken : {"", "x", "0:", "0::", ":::", "0::relative"}) {
    Write("/proc/self/cgroup", broken);
    EXPECT_EQ(Available(), 1510) << broken;
  }
}

}  // namespace
}  // namespace minke
