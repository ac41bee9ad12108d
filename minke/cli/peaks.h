// What this machine can do at most, measured in about a second: the denominator of every share of a roofline.
#pragma once

#include <string>

#include "minke/base/json.h"
#include "minke/base/thread_pool.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/work.h"

namespace minke {

// By all threads of a pool together.
struct Peaks {
  std::string kernels;  // the set that computes; "" if none runs here
  int threads = 0;
  double memory_bytes_per_s = 0;  // read in order, from beyond the caches
  double f32_flop_per_s = 0;      // multiply-adds in registers, two each; 0 without a set
  double i8_op_per_s = 0;         // the same of bytes, as products with weights in tiles are
};
// `kernels` may be null. `available_bytes` bounds the memory that is read.
Peaks MeasurePeaks(const KernelSet* kernels, ThreadPool& pool, int64_t available_bytes);

double MeasureMemoryBandwidth(ThreadPool& pool, int64_t available_bytes);
double MeasureF32Peak(const KernelSet& kernels, ThreadPool& pool);
double MeasureI8Peak(const KernelSet& kernels, ThreadPool& pool);

// The least time that `work` can take: memory and arithmetic overlap, so it is the longer of the two.
struct RooflineTime {
  double memory_s = 0, compute_s = 0;
  bool memory_bound() const { return memory_s > compute_s; }
  double seconds() const { return memory_bound() ? memory_s : compute_s; }
};
RooflineTime LeastTime(const Work& work, const Peaks& peaks);

Json PeaksJson(const Peaks& peaks);
std::string PeaksText(const Peaks& peaks);  // "memory read at 34.1 GB/s, F32 374 GFLOP/s, ..."

}  // namespace minke
