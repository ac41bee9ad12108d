// The unit goldens (tests/data/golden/units), on every set that runs here. Tolerance: 1e-5 of a tensor's largest value;
// integers and bytes equal. YaRN frequencies and routing belong to the model room.
#include <algorithm>
#include <cstring>

#include "minke/kernels/kernels_testing.h"
#include "minke/tensor/safetensors.h"

namespace minke {
namespace {

class Golden : public testing::Test {
 protected:
  void SetUp() override {
    auto file = OpenSafetensors(MINKE_TEST_DATA "/golden/units/units.safetensors");
    ASSERT_TRUE(file) << file.error().message;
    file_ = std::move(*file);
  }
  template <class T>
  std::vector<T> Get(std::string_view name) {
    const TensorRef* tensor = file_->Find(name);
    EXPECT_NE(tensor, nullptr) << name;
    std::vector<T> values(tensor ? tensor->bytes.size() / sizeof(T) : 0);
    if (tensor) std::memcpy(values.data(), tensor->bytes.data(), tensor->bytes.size());
    return values;
  }
  static void ExpectNear(const std::vector<float>& got, const std::vector<float>& expected) {
    float largest = 0;
    for (const float v : expected) largest = std::max(largest, std::fabs(v));
    ASSERT_EQ(got.size(), expected.size());
    ASSERT_GT(largest, 0.0f);
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], 1e-5 * largest) << "element " << i;
  }

 private:
  std::unique_ptr<TensorFile> file_;
};

TEST_F(Golden, BothRopePairings) {
  const auto positions = Get<int64_t>("rope.positions");
  const auto frequencies = Get<float>("yarn.inv_freq");  // of the angles; the product is in F32
  const auto x = Get<float>("rope.x");
  ForEachSet([&](const KernelSet& set) {
    std::vector<float> interleaved = x, half = x;
    for (size_t row = 0; row < positions.size(); ++row) {
      float cos[32], sin[32];
      for (size_t j = 0; j < 32; ++j) {
        const float angle = static_cast<float>(positions[row]) * frequencies[j];
        cos[j] = static_cast<float>(std::cos(double{angle}));
        sin[j] = static_cast<float>(std::sin(double{angle}));
      }
      set.rope_interleaved(interleaved.data() + row * 64, cos, sin, 64);
      set.rope_half_split(half.data() + row * 64, cos, sin, 64);
    }
    ExpectNear(interleaved, Get<float>("rope.y_interleaved"));
    ExpectNear(half, Get<float>("rope.y_half"));
  });
}

TEST_F(Golden, IndexScoresAndSelection) {
  const auto q = Get<float>("index.q"), k = Get<float>("index.k");
  auto weights = Get<float>("index.weights_proj_out");
  for (float& w : weights) w *= 1.0f / std::sqrt(64.0f) / std::sqrt(128.0f);
  std::vector<float> keys = k;
  keys.resize(320 * 128);
  std::vector<float*> pages;
  for (int64_t p = 0; p < 5; ++p) pages.push_back(keys.data() + p * 64 * 128);
  const PagedRows rows = {.pages = pages.data(), .offset = 0, .width = 128, .page_tokens = 64};
  ForEachSet([&](const KernelSet& set) {
    std::vector<float> scores(300);
    set.index_scores(q.data(), weights.data(), 64, 128, rows, 0, 300, scores.data());
    ExpectNear(scores, Get<float>("index.score"));
    for (const auto& [k_count, name] : {std::pair{16, "index.top16"}, {64, "index.top64"}}) {
      auto expected = Get<int32_t>(name);
      std::sort(expected.begin(), expected.end());
      std::vector<int32_t> selected(static_cast<size_t>(k_count));
      ASSERT_EQ(set.top_k(scores.data(), 300, k_count, selected.data()), k_count);
      EXPECT_EQ(selected, expected);
    }
  });
}

// The path of DeepSeek's own inference code: rotate, round to codes with power-of-two scales, score the codes.
TEST_F(Golden, IndexScoresInFP8) {
  const auto q = Get<float>("index.q"), k = Get<float>("index.k"), out = Get<float>("index.weights_proj_out");
  ForEachSet([&](const KernelSet& set) {
    const auto quantize = [&](std::vector<float> x, std::vector<uint8_t>& codes, std::vector<float>& scales) {
      codes.resize(x.size());
      scales.resize(x.size() / 128);
      for (size_t row = 0; row < scales.size(); ++row) {
        set.hadamard(x.data() + row * 128, 128);
        set.quantize_e4m3(x.data() + row * 128, 128, true, codes.data() + row * 128, &scales[row]);
      }
    };
    std::vector<uint8_t> q_codes, k_codes;
    std::vector<float> weights, key_scales, scores(300);
    quantize(q, q_codes, weights);
    quantize(k, k_codes, key_scales);
    for (size_t j = 0; j < 64; ++j) weights[j] *= out[j] / std::sqrt(64.0f) / std::sqrt(128.0f);
    set.index_scores_e4m3(q_codes.data(), weights.data(), 64, 128, k_codes.data(), key_scales.data(), 300,
                          scores.data());
    ExpectNear(scores, Get<float>("index.score_fp8_ue8m0"));
  });
}

TEST_F(Golden, BlockDequantisationWithCutEdges) {
  const auto codes = Get<uint8_t>("dequant.weight");
  const auto scales = Get<float>("dequant.weight_scale_inv"), expected = Get<float>("dequant.expected");
  const WeightView w = {.dtype = DType::kF8E4M3,
                        .data = codes.data(),
                        .rows = 200,
                        .cols = 300,
                        .scales = scales.data(),
                        .block_rows = 128,
                        .block_cols = 128};
  ForEachSet([&](const KernelSet& set) {
    std::vector<float> got(200 * 300);
    for (int64_t row = 0; row < 200; ++row) set.dequantize_row(w, row, got.data() + row * 300);
    ExpectNear(got, expected);
    // The same numbers by multiplying with the identity.
    std::vector<float> eye(300 * 300, 0.0f), product(300 * 200);
    for (int64_t i = 0; i < 300; ++i) eye[static_cast<size_t>(i * 301)] = 1.0f;
    set.matmul(eye.data(), 300, 300, w, 0, 200, product.data(), 200);
    for (int64_t c = 0; c < 300; ++c)
      for (int64_t r = 0; r < 200; ++r) ASSERT_EQ(product[c * 200 + r], got[r * 300 + c]);
  });
}

TEST_F(Golden, Hadamard) {
  ForEachSet([&](const KernelSet& set) {
    auto x = Get<float>("hadamard.x");
    for (size_t row = 0; row < 4; ++row) set.hadamard(x.data() + row * 128, 128);
    ExpectNear(x, Get<float>("hadamard.y"));
  });
}

TEST_F(Golden, ActivationQuantisation) {
  const auto x = Get<float>("act_quant.x");
  ForEachSet([&](const KernelSet& set) {
    for (const auto& [ue8m0, form] : {std::pair{false, "float"}, {true, "ue8m0"}}) {
      SCOPED_TRACE(form);
      std::vector<uint8_t> codes(10 * 128);
      std::vector<float> scales(10);
      for (size_t row = 0; row < 10; ++row)
        set.quantize_e4m3(x.data() + row * 128, 128, ue8m0, codes.data() + row * 128, &scales[row]);
      EXPECT_EQ(codes, Get<uint8_t>(fmt::format("act_quant.q_{}", form)));
      ExpectNear(scales, Get<float>(fmt::format("act_quant.scale_{}", form)));
    }
  });
}

}  // namespace
}  // namespace minke
