// What LoadWeights refuses, by changing one tensor of the golden FP8 case; and that scales of every type mean the same.
#include "minke/model/weights.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "minke/base/file.h"
#include "minke/model/golden_case.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

const std::string kCodes = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight";  // [80, 192]
const std::string kScales = kCodes + "_scale_inv";                                // [1, 2]
const std::string kNorm = "model.layers.0.self_attn.kv_a_layernorm.weight";       // [64]

template <class T>
std::vector<std::byte> Bytes(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

class WeightsTest : public testing::Test {
 protected:
  WeightsTest() {
    std::string name = (fs::temp_directory_path() / "minke_weights_test_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    golden_ = OpenSafetensors(MINKE_TEST_DATA "/golden/v32_fp8/model.safetensors").value();
    fs::copy(MINKE_TEST_DATA "/golden/v32_fp8/config.json", folder_ / "config.json");
    for (const auto& [tensor_name, tensor] : golden_->tensors())
      tensors_[tensor_name] = {
          .name = tensor_name, .dtype = tensor.dtype, .shape = tensor.shape, .bytes = tensor.bytes};
  }
  ~WeightsTest() override { fs::remove_all(folder_); }

  void Replace(const std::string& name, DType dtype, std::vector<int64_t> shape, std::vector<std::byte> bytes) {
    kept_.push_back(std::move(bytes));
    tensors_[name] = {.name = name, .dtype = dtype, .shape = std::move(shape), .bytes = kept_.back()};
  }
  Result<std::unique_ptr<const Model>> Open() {
    std::vector<TensorToWrite> list;
    for (const auto& [name, tensor] : tensors_) list.push_back(tensor);
    EXPECT_TRUE(WriteSafetensors((folder_ / "model.safetensors").string(), list));
    return Model::Open(folder_.string());
  }
  void ExpectError(Code code, const std::string& part) {
    const auto model = Open();
    ASSERT_FALSE(model) << part;
    EXPECT_EQ(model.error().code, code) << model.error().message;
    EXPECT_NE(model.error().message.find(part), std::string::npos) << model.error().message;
  }

  fs::path folder_;
  std::unique_ptr<TensorFile> golden_;
  std::map<std::string, TensorToWrite> tensors_;
  std::vector<std::vector<std::byte>> kept_;
};

TEST_F(WeightsTest, AMissingTensorIsNamedWithItsShape) {
  tensors_.erase(kCodes);
  ExpectError(Code::kDamaged, "tensor " + kCodes + " is missing (expected shape [80, 192])");
}

// A configuration with one layer more than the three shards have.
TEST_F(WeightsTest, AMissingTensorOfShardsIsMissedInTheirIndex) {
  for (const auto& file : fs::directory_iterator(MINKE_TEST_DATA "/golden/v3_bf16_sharded"))
    if (file.path().filename().string().starts_with("model")) fs::copy(file.path(), folder_);
  std::string config = ReadFile(MINKE_TEST_DATA "/golden/v3_bf16_sharded/config.json", kMaxConfigBytes).value();
  const std::string layers = "\"num_hidden_layers\": 3";
  config.replace(config.find(layers), layers.size(), "\"num_hidden_layers\": 5");
  std::ofstream(folder_ / "config.json") << config;
  const auto model = Model::Open(folder_.string());
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, Code::kDamaged);
  const std::string start = (folder_ / "model.safetensors.index.json").string() + ": tensor model.layers.4.";
  EXPECT_TRUE(model.error().message.starts_with(start)) << model.error().message;
}

TEST_F(WeightsTest, AMissingScaleIsNamedWithItsShape) {
  tensors_.erase(kScales);
  ExpectError(Code::kDamaged, "tensor " + kScales + " is missing (expected shape [1, 2])");
}

TEST_F(WeightsTest, AWrongShapeIsNamedWithTheExpectedOne) {
  tensors_.at(kCodes).shape = {192, 80};
  ExpectError(Code::kDamaged, "tensor " + kCodes + " has shape [192, 80], expected [80, 192]");
}

TEST_F(WeightsTest, AWrongTypeOfMatrixAndVector) {
  Replace(kCodes, DType::kI8, {80, 192}, std::vector<std::byte>(80 * 192));
  ExpectError(Code::kUnsupported, "tensor " + kCodes + " is I8; weights must be F32, F16, BF16 or F8_E4M3");
  tensors_.at(kCodes).dtype = DType::kF8E4M3;
  Replace(kNorm, DType::kI32, {64}, std::vector<std::byte>(256));
  ExpectError(Code::kUnsupported, "tensor " + kNorm + " is I32, expected F32, F16 or BF16");
}

TEST_F(WeightsTest, ScalesMustBePositiveAndMayNotOverflow) {
  for (const float scale : {0.0f, -1.0f, std::nanf(""), std::numeric_limits<float>::infinity(), 0x1p120f}) {
    Replace(kScales, DType::kF32, {1, 2}, Bytes<float>({1.0f, scale}));
    ExpectError(Code::kDamaged, "tensor " + kScales + " has the scale " + fmt::format("{}", scale) + " at [0, 1]");
  }
  Replace(kScales, DType::kF32, {1, 2}, Bytes<float>({std::numeric_limits<float>::denorm_min(), 0x1.FFFFFEp119f}));
  EXPECT_TRUE(Open());
  Replace(kScales, DType::kF8E8M0, {1, 2}, Bytes<uint8_t>({127, 255}));
  ExpectError(Code::kDamaged, "has the scale nan at [0, 1]");
}

TEST_F(WeightsTest, ScalesOfEveryTypeMeanTheSame) {
  const std::vector<float> scales = {0x1p-9f, 0x1p3f};
  const auto bf16 = Bytes<uint16_t>({FloatToBF16(scales[0]), FloatToBF16(scales[1])});
  const auto e8m0 = Bytes<uint8_t>({127 - 9, 127 + 3});
  for (const auto& [dtype, bytes] :
       {std::pair(DType::kF32, Bytes(scales)), std::pair(DType::kBF16, bf16), std::pair(DType::kF8E8M0, e8m0)}) {
    Replace(kScales, dtype, {1, 2}, bytes);
    const auto model = Open();
    ASSERT_TRUE(model) << model.error().message;
    const WeightView& view = (*model)->weights().layers[0].kv_a_proj_with_mqa;
    EXPECT_EQ(view.scales[0], scales[0]) << DTypeName(dtype);
    EXPECT_EQ(view.scales[1], scales[1]) << DTypeName(dtype);
  }
}

}  // namespace
}  // namespace minke
