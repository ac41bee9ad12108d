#include "minke/base/nearest_name.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

TEST(NearestName, IsTheOneThatWasMeant) {
  EXPECT_EQ(NearestName("thread", {"threads", "temp"}), "threads");
  EXPECT_EQ(NearestName("tmep", {"step", "temp"}), "temp");  // a swap is one slip
  EXPECT_EQ(NearestName("zzzzzz", {"threads", "temp"}), "");
}

}  // namespace
}  // namespace minke
