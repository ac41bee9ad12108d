#include "minke/cli/peaks.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

TEST(Peaks, AreMeasured) {
  ThreadPool pool(2);
  const KernelSet* kernels = ChooseKernelSet("").value();
  const Peaks peaks = MeasurePeaks(kernels, pool, int64_t{32} << 20);
  EXPECT_EQ(peaks.threads, 2);
  EXPECT_EQ(peaks.kernels, kernels->name);
  EXPECT_GT(peaks.memory_bytes_per_s, 1e7);
  EXPECT_LT(peaks.memory_bytes_per_s, 1e13);
  EXPECT_GT(peaks.f32_flop_per_s, 1e6);
  EXPECT_LT(peaks.f32_flop_per_s, 1e14);
  EXPECT_GT(peaks.i8_op_per_s, 1e6);
  EXPECT_LT(peaks.i8_op_per_s, 1e15);
  EXPECT_NE(PeaksText(peaks).find("by 2 threads"), std::string::npos);
}

TEST(Peaks, WithoutAKernelSetOnlyMemoryIsMeasured) {
  ThreadPool pool(1);
  const Peaks peaks = MeasurePeaks(nullptr, pool, int64_t{8} << 20);
  EXPECT_GT(peaks.memory_bytes_per_s, 0);
  EXPECT_TRUE(PeaksJson(peaks).at("f32_flop_per_s").is_null() && PeaksJson(peaks).at("i8_op_per_s").is_null());
  EXPECT_EQ(PeaksText(peaks).find("F32"), std::string::npos);
}

TEST(Peaks, TheLongerOfMemoryAndArithmeticIsTheLeastTime) {
  Peaks peaks;
  peaks.memory_bytes_per_s = 100, peaks.f32_flop_per_s = 1000, peaks.i8_op_per_s = 4000;
  const RooflineTime read = LeastTime({.weight_bytes = 150, .latent_bytes = 50, .weight_flop = 1000}, peaks);
  EXPECT_DOUBLE_EQ(read.seconds(), 2);
  EXPECT_TRUE(read.memory_bound());
  const RooflineTime computed = LeastTime({.weight_bytes = 100, .weight_flop = 1000, .attention_flop = 500}, peaks);
  EXPECT_DOUBLE_EQ(computed.seconds(), 1.5);
  EXPECT_FALSE(computed.memory_bound());
  EXPECT_DOUBLE_EQ(LeastTime({.weight_flop = 1000, .i8_op = 4000}, peaks).seconds(), 2);  // one after the other
}

}  // namespace
}  // namespace minke
