#include "minke/engine/random_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace minke {
namespace {

TEST(RandomRows, FillTheirPagesOnlyAndAlikeForAnyThreads) {
  const CacheLayout layout{.num_layers = 2, .kv_lora_rank = 4, .qk_rope_head_dim = 2, .index_head_dim = 3};
  const auto pool = PagePool::Create(layout, 3, PagePool::Fill::kPoison).value();
  PageTable table(*pool, 3);
  ASSERT_TRUE(table.Grow(3));
  ThreadPool one(1), two(2);
  FillWithRandomRows(table, layout, 70, 130, /*seed=*/1, **ChooseKernelSet(""), two);  // pages 1 and 2
  const auto page = [&](size_t i) {
    return std::vector<float>(table.pages()[i], table.pages()[i] + layout.page_floats());
  };
  EXPECT_TRUE(std::ranges::all_of(page(0), [](float x) { return std::isnan(x); }));
  double sum = 0, squares = 0;
  for (const size_t i : {1, 2})
    for (const float x : page(i)) sum += x, squares += x * x;
  const double count = 2.0 * static_cast<double>(layout.page_floats());
  EXPECT_NEAR(sum / count, 0, 0.1);
  EXPECT_NEAR(squares / count, 1, 0.1);
  const auto first = page(1);
  EXPECT_NE(first, page(2));
  FillWithRandomRows(table, layout, 64, 65, /*seed=*/1, **ChooseKernelSet(""), one);
  EXPECT_EQ(first, page(1));
  FillWithRandomRows(table, layout, 64, 65, /*seed=*/2, **ChooseKernelSet(""), one);
  EXPECT_NE(first, page(1));
  FillWithRandomRows(table, layout, 0, 0, /*seed=*/2, **ChooseKernelSet(""), one);
  EXPECT_TRUE(std::isnan(page(0)[0]));
}

}  // namespace
}  // namespace minke
