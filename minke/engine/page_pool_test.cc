#include "minke/engine/page_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

namespace minke {
namespace {

// One float a token: 64 floats a page.
constexpr CacheLayout kTiny{.num_layers = 1, .kv_lora_rank = 1};

std::unique_ptr<PagePool> MakePool(int64_t num_pages, PagePool::Fill fill = PagePool::Fill::kNone) {
  auto pool = PagePool::Create(kTiny, num_pages, fill);
  EXPECT_TRUE(pool.has_value());
  return std::move(*pool);
}

TEST(PagePool, LeasesAreGivenBackWhenTheTableGoes) {
  auto pool = MakePool(5);
  {
    PageTable table(*pool, 5);
    ASSERT_TRUE(table.Grow(3));
    EXPECT_EQ(table.size(), 3);
    EXPECT_EQ(pool->used_pages(), 3);
    ASSERT_TRUE(table.Grow(2));  // growing to less changes nothing
    EXPECT_EQ(table.size(), 3);
    PageTable moved = std::move(table);
    EXPECT_EQ(moved.size(), 3);
    EXPECT_EQ(table.size(), 0);  // NOLINT: a moved-from table is empty
    EXPECT_EQ(pool->used_pages(), 3);
    table = std::move(moved);
    EXPECT_EQ(pool->used_pages(), 3);
  }
  EXPECT_EQ(pool->free_pages(), 5);
}

TEST(PagePool, RunningOutIsAnErrorWithNumbersAndChangesNothing) {
  auto pool = MakePool(4);
  PageTable first(*pool, 4), second(*pool, 4);
  ASSERT_TRUE(first.Grow(3));
  const Status status = second.Grow(2);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kNoMemory);
  EXPECT_EQ(status.error().message, "2 more cache pages are needed, 1 of 4 are free");
  EXPECT_EQ(second.size(), 0);
  EXPECT_EQ(pool->free_pages(), 1);
  first.Clear();
  EXPECT_TRUE(second.Grow(2));
}

TEST(PagePool, SameCallsGiveSamePages) {
  auto pool = MakePool(6);
  PageTable table(*pool, 6);
  ASSERT_TRUE(table.Grow(4));
  const std::vector<float*> before(table.pages().begin(), table.pages().end());
  for (int i = 1; i < 4; ++i) EXPECT_EQ(before[i], before[0] + i * kTiny.page_floats());
  table.Clear();
  ASSERT_TRUE(table.Grow(4));
  EXPECT_TRUE(std::ranges::equal(before, table.pages()));
}

TEST(PagePool, PoisonFillsEveryLeaseWithNaN) {
  auto pool = MakePool(1, PagePool::Fill::kPoison);
  for (int round = 0; round < 2; ++round) {
    PageTable table(*pool, 1);
    ASSERT_TRUE(table.Grow(1));
    for (int64_t i = 0; i < kTiny.page_floats(); ++i) {
      ASSERT_TRUE(std::isnan(table.pages()[0][i])) << i;
      table.pages()[0][i] = 1;
    }
  }
}

TEST(PagePool, MemoryIsTakenOnlyWhereItIsWritten) {
  // 256 GiB: more than the machine has, opened at once.
  const CacheLayout layout{.num_layers = 64, .kv_lora_rank = 1024};  // 16 MiB a page
  auto pool = PagePool::Create(layout, 16 * 1024);
  ASSERT_TRUE(pool.has_value()) << pool.error().message;
  EXPECT_EQ((*pool)->page_bytes(), 16 << 20);
  PageTable table(**pool, 2);
  ASSERT_TRUE(table.Grow(2));
  table.pages()[1][layout.page_floats() - 1] = 1;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(table.pages()[1]) % 64, 0u);  // a cache line
}

TEST(PagePool, ImpossibleSizesAreErrors) {
  EXPECT_EQ(PagePool::Create(kTiny, 0).error().code, Code::kInvalidArgument);
  EXPECT_EQ(PagePool::Create({}, 4).error().code, Code::kInvalidArgument);
  EXPECT_EQ(PagePool::Create(kTiny, int64_t{1} << 62).error().code, Code::kNoMemory);  // overflows
  EXPECT_EQ(PagePool::Create(kTiny, int64_t{1} << 50).error().code, Code::kNoMemory);  // beyond the address space
}

// Against a plain map from page to owner.
TEST(PagePool, NoPageEverHasTwoOwners) {
  constexpr int kTables = 7;
  auto pool = MakePool(20);
  std::vector<PageTable> tables;
  for (int i = 0; i < kTables; ++i) tables.emplace_back(*pool, 20);
  std::mt19937 rng(4);
  for (int step = 0; step < 20000; ++step) {
    PageTable& table = tables[rng() % kTables];
    const int64_t before = table.size(), free = pool->free_pages();
    if (rng() % 4 == 0) {
      table.Clear();
      ASSERT_EQ(pool->free_pages(), free + before);
    } else {
      const int64_t more = 1 + static_cast<int64_t>(rng() % 3);
      ASSERT_EQ(table.Grow(before + more).has_value(), more <= free);
      ASSERT_EQ(table.size(), more <= free ? before + more : before);
    }
    std::map<float*, int> owner;
    int64_t used = 0;
    for (int i = 0; i < kTables; ++i) {
      for (float* page : tables[i].pages()) ASSERT_TRUE(owner.emplace(page, i).second) << "step " << step;
      used += tables[i].size();
    }
    ASSERT_EQ(pool->used_pages(), used);
  }
}

}  // namespace
}  // namespace minke
