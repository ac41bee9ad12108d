#include "minke/base/cgroup.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace minke {
namespace {

namespace fs = std::filesystem;

// A machine of files.
class CgroupTest : public testing::Test {
 protected:
  CgroupTest() : root_(fs::path(testing::TempDir()) / ("cgroup_" + std::to_string(::getpid()))) {}
  ~CgroupTest() override { fs::remove_all(root_); }

  void Write(const std::string& name, const std::string& text) {
    const fs::path path = root_.string() + name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  void Group2(const std::string& folder, const std::string& max) { Write("/sys/fs/cgroup" + folder + "/cpu.max", max); }
  void Group1(const std::string& folder, const std::string& quota, const std::string& period) {
    Write("/sys/fs/cgroup/cpu" + folder + "/cpu.cfs_quota_us", quota);
    Write("/sys/fs/cgroup/cpu" + folder + "/cpu.cfs_period_us", period);
  }
  int Processors() const { return CgroupProcessors(root_.string()); }

  const fs::path root_;
};

TEST_F(CgroupTest, FoldersFromTheOwnGroupUpToTheMount) {
  Write("/proc/self/cgroup", "5:cpu,cpuacct:/jobs/7\n4:cpuset:/other\n0::/a/b\n");
  const std::string mount = root_.string() + "/sys/fs/cgroup";
  EXPECT_EQ(CgroupFolders(root_.string(), ""), (std::vector<std::string>{mount + "/a/b", mount + "/a", mount}));
  EXPECT_EQ(CgroupFolders(root_.string(), "cpu"),
            (std::vector<std::string>{mount + "/cpu/jobs/7", mount + "/cpu/jobs", mount + "/cpu"}));
  EXPECT_EQ(CgroupFolders(root_.string(), "memory"), (std::vector<std::string>{mount + "/memory"}));
}

TEST_F(CgroupTest, WithoutAQuotaThereIsNoLimit) {
  EXPECT_EQ(Processors(), 0);
  Write("/proc/self/cgroup", "4:cpu:/jobs\n0::/mine\n");
  for (const char* none : {"max 100000\n", "", "max", "0 100000", "100000", "100000 0", "x y"}) {
    Group2("/mine", none);
    EXPECT_EQ(Processors(), 0) << none;
  }
  Group1("/jobs", "-1\n", "100000\n");
  EXPECT_EQ(Processors(), 0);
}

TEST_F(CgroupTest, TheSmallestQuotaOfVersion2Counts) {
  Write("/proc/self/cgroup", "0::/user.slice/mine.scope\n");
  Group2("/user.slice/mine.scope", "400000 100000\n");
  EXPECT_EQ(Processors(), 4);
  Group2("/user.slice", "150000 50000\n");  // of a group above
  EXPECT_EQ(Processors(), 3);
  Group2("", "200000 100000\n");  // as inside a container
  EXPECT_EQ(Processors(), 2);
  Group2("/user.slice/other.scope", "100000 100000\n");  // of nobody's concern
  EXPECT_EQ(Processors(), 2);
  Group2("/user.slice/mine.scope", "10000 100000\n");
  EXPECT_EQ(Processors(), 1);
  Group2("/user.slice/mine.scope", "160000 100000\n");
  EXPECT_EQ(Processors(), 2);
  Group2("", "max 100000\n");
  Group2("/user.slice", "max 100000\n");
  Group2("/user.slice/mine.scope", "1e300 1\n");
  EXPECT_EQ(Processors(), 1'000'000);
}

TEST_F(CgroupTest, SoDoesThatOfVersion1) {
  Write("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,cpuacct:/jobs/7\n0::/\n");
  Group1("/jobs/7", "-1", "100000");
  Group1("/jobs", "300000", "100000");
  EXPECT_EQ(Processors(), 3);
  Group1("/jobs/7", "100000", "50000");
  EXPECT_EQ(Processors(), 2);
}

TEST_F(CgroupTest, APathOfAnotherNamespaceLeavesTheMount) {
  for (const char* path : {"/docker/0123", "/../../host"}) {
    Write("/proc/self/cgroup", std::string("4:cpu:") + path + "\n");
    Group1("", "200000", "100000");
    EXPECT_EQ(Processors(), 2) << path;
  }
}

}  // namespace
}  // namespace minke
