// A golden case (tests/data/golden) and a cache to run it on; for tests of the model room and above.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "minke/model/forward.h"
#include "minke/tensor/safetensors.h"

namespace minke {

struct GoldenTensor {
  std::vector<int64_t> shape;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  int64_t width() const { return shape.back(); }
};

// Every tensor of a file as plain vectors. F32, I32 and I64 only.
inline std::map<std::string, GoldenTensor> ReadGolden(const std::string& path) {
  std::map<std::string, GoldenTensor> golden;
  auto file = OpenSafetensors(path);
  EXPECT_TRUE(file) << file.error().message;
  if (!file) return golden;
  for (const auto& [name, tensor] : (*file)->tensors()) {
    GoldenTensor& g = golden[name];
    g.shape = tensor.shape;
    const int64_t n = tensor.num_elements();
    for (int64_t i = 0; i < n; ++i) {
      const std::byte* p = tensor.bytes.data() + i * ElementBytes(tensor.dtype);
      if (tensor.dtype == DType::kF32) {
        float value;
        std::memcpy(&value, p, sizeof value);
        g.floats.push_back(value);
      } else if (tensor.dtype == DType::kI32) {
        int32_t value;
        std::memcpy(&value, p, sizeof value);
        g.ints.push_back(value);
      } else if (tensor.dtype == DType::kI64) {
        int64_t value;
        std::memcpy(&value, p, sizeof value);
        g.ints.push_back(value);
      }
    }
  }
  return golden;
}

// Pages for one sequence, filled with NaN, so that a row read before it is written shows.
class TestCache {
 public:
  TestCache(const CacheLayout& layout, int64_t tokens, bool reversed = false) {
    const size_t count = static_cast<size_t>((tokens + kPageTokens - 1) / kPageTokens);
    const size_t floats = static_cast<size_t>(layout.page_floats());
    memory_.assign(count * floats, std::numeric_limits<float>::quiet_NaN());
    for (size_t p = 0; p < count; ++p) pages_.push_back(memory_.data() + (reversed ? count - 1 - p : p) * floats);
  }
  std::span<float* const> pages() const { return pages_; }

 private:
  std::vector<float> memory_;
  std::vector<float*> pages_;
};

// Collects what a run taps, rows appended over chunks, under the goldens' names.
class TapLog : public TapSink {
 public:
  void Floats(std::string_view name, int64_t layer, TensorView<const float, 2> rows) override {
    auto& out = floats[Key(name, layer)];
    for (int64_t r = 0; r < rows.dim(0); ++r) out.insert(out.end(), rows[r].begin(), rows[r].end());
  }
  void Ints(std::string_view name, int64_t layer, TensorView<const int32_t, 2> rows) override {
    auto& out = ints[Key(name, layer)];
    for (int64_t r = 0; r < rows.dim(0); ++r) out.emplace_back(rows[r].begin(), rows[r].end());
  }
  std::map<std::string, std::vector<float>> floats;
  std::map<std::string, std::vector<std::vector<int32_t>>> ints;

 private:
  static std::string Key(std::string_view name, int64_t layer) {
    const bool whole = name == "hidden.embed" || name == "hidden.normed";
    return whole ? std::string(name) : std::string(name) + "." + std::to_string(layer);
  }
};

}  // namespace minke
