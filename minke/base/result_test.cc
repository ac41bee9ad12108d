#include "minke/base/result.h"

#include <gtest/gtest.h>

#include <memory>

namespace minke {
namespace {

Result<int> Half(int n) {
  if (n % 2 != 0) return Fail(Code::kInvalidArgument, "{} is odd", n);
  return n / 2;
}

Result<int> Quarter(int n) {
  MINKE_ASSIGN(const int half, Half(n));
  MINKE_ASSIGN(const int quarter, Half(half));
  return quarter;
}

Status Check(int n, int& reached) {
  MINKE_TRY(Half(n));
  reached = n;
  return {};
}

TEST(Result, AssignReturnsTheFirstError) {
  EXPECT_EQ(Quarter(12).value(), 3);
  EXPECT_EQ(Quarter(6).error().message, "3 is odd");
  EXPECT_EQ(Quarter(5).error().message, "5 is odd");
  EXPECT_EQ(Quarter(5).error().code, Code::kInvalidArgument);
}

TEST(Result, TryStopsAtAnError) {
  int reached = 0;
  EXPECT_TRUE(Check(4, reached));
  EXPECT_EQ(reached, 4);
  EXPECT_FALSE(Check(7, reached));
  EXPECT_EQ(reached, 4);
}

TEST(Result, AssignMovesAValueThatCannotBeCopied) {
  const auto make = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(7); };
  const auto use = [&]() -> Result<int> {
    MINKE_ASSIGN(const std::unique_ptr<int> owned, make());
    return *owned;
  };
  EXPECT_EQ(use().value(), 7);
}

TEST(Result, CodesAreTheExitCodesOfTheManual) {
  EXPECT_EQ(ExitCode(Code::kFailed), 1);
  EXPECT_EQ(ExitCode(Code::kNotFound), 3);
  EXPECT_EQ(ExitCode(Code::kDamaged), 4);
  EXPECT_EQ(ExitCode(Code::kNoMemory), 6);
  EXPECT_EQ(ExitCode(Code::kCancelled), 130);
}

}  // namespace
}  // namespace minke
