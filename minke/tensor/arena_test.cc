#include "minke/tensor/arena.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

struct Buffers {
  explicit Buffers(Arena& arena)
      : a(arena.TakeTensor<float>({3, 5})), b(arena.Take<int32_t>(7)), c(arena.TakeTensor<float>({2, 2, 2})) {}
  TensorView<float, 2> a;
  std::span<int32_t> b;
  TensorView<float, 3> c;
};

TEST(Arena, MeasuresWhatTheSecondPassTakes) {
  Arena measure;
  const Buffers nothing(measure);
  EXPECT_EQ(nothing.a.data(), nullptr);
  EXPECT_EQ(nothing.b.size(), 7u);
  EXPECT_EQ(measure.used_bytes(), 64u + 64u + 64u);

  Arena arena(measure.used_bytes());
  const Buffers buffers(arena);
  EXPECT_EQ(arena.used_bytes(), measure.used_bytes());
  for (const void* p : {static_cast<const void*>(buffers.a.data()), static_cast<const void*>(buffers.b.data()),
                        static_cast<const void*>(buffers.c.data())})
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0u);
  buffers.a[2][4] = 1;  // the last element of each; a sanitizer build would see an overrun
  buffers.b[6] = 2;
  buffers.c[1][1][1] = 3;
  EXPECT_NE(static_cast<const void*>(buffers.a.data()), static_cast<const void*>(buffers.b.data()));
  EXPECT_EQ(buffers.a[2][4], 1);
}

TEST(Arena, NothingTakesNothing) {
  Arena arena(0);
  EXPECT_EQ(arena.Take<float>(0).size(), 0u);
  EXPECT_EQ(arena.used_bytes(), 0u);
}

TEST(ArenaDeathTest, TakingTooMuchIsOurOwnError) {
  Arena arena(64);
  arena.Take<float>(16);
  EXPECT_DEATH(arena.Take<float>(1), "used_ <= capacity_");
}

}  // namespace
}  // namespace minke
