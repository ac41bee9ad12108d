#include "minke/model/parameters.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "minke/base/file.h"
#include "minke/model/golden_case.h"
#include "minke/model/weights.h"

namespace minke {
namespace {

using MtpCopies = Parameters::MtpCopies;

std::string Folder(const std::string& name) { return std::string(MINKE_TEST_DATA) + "/golden/" + name; }

const Parameter* Find(const Parameters& parameters, const std::string& name) {
  for (const Parameter& p : parameters.list())
    if (p.name == name) return &p;
  return nullptr;
}

ModelConfig ConfigOf(const std::string& name) {
  const std::string file = Folder(name) + "/config.json";
  return *ParseModelConfig(*ReadFile(file, kMaxConfigBytes), file);
}

TEST(Parameters, ACopyHasTheValuesOfTheFileUnderItsNames) {
  const KernelSet& kernels = **ChooseKernelSet("");
  const auto model = std::move(*Model::Open(Folder("gradients")));
  const auto parameters = std::move(*Parameters::Copy(*model, kernels, MtpCopies::kApart));
  const auto file = std::move(*OpenSafetensors(Folder("gradients") + "/model.safetensors"));
  std::set<std::string> seen;
  int64_t floats = 0, end = 0;
  for (const Parameter& p : parameters->list()) {
    const TensorRef* tensor = file->Find(p.name);
    ASSERT_TRUE(tensor) << p.name;
    EXPECT_EQ(p.shape, tensor->shape) << p.name;
    EXPECT_EQ(std::memcmp(parameters->values_of(p).data(), tensor->bytes.data(), tensor->bytes.size()), 0) << p.name;
    EXPECT_EQ(p.offset % 16, 0);
    EXPECT_GE(p.offset, end) << p.name << " overlaps";
    end = p.offset + p.size;
    floats += p.size;
    EXPECT_TRUE(seen.insert(p.name).second) << p.name << " twice";
    EXPECT_EQ(p.indexer, p.name.find(".indexer.") != std::string::npos) << p.name;
    EXPECT_EQ(p.kind == ParameterKind::kMatrix, p.shape.size() == 2) << p.name;
    EXPECT_EQ(p.kind == ParameterKind::kRouterBias, p.name.ends_with("e_score_correction_bias")) << p.name;
  }
  EXPECT_LE(end, std::ssize(parameters->values()));
  EXPECT_EQ(parameters->num_parameters(), floats);
}

TEST(Parameters, CodesAreDecoded) {
  const KernelSet& kernels = **ChooseKernelSet("");
  const auto model = std::move(*Model::Open(Folder("v32_fp8")));
  const auto parameters = std::move(*Parameters::Copy(*model, kernels, MtpCopies::kApart));
  const WeightView& codes = model->weights().layers[0].o_proj;
  ASSERT_EQ(codes.dtype, DType::kF8E4M3);
  std::vector<float> row(static_cast<size_t>(codes.cols));
  kernels.dequantize_row(codes, 1, row.data());
  const auto values = parameters->values_of(*Find(*parameters, "model.layers.0.self_attn.o_proj.weight"));
  EXPECT_EQ(std::memcmp(values.data() + codes.cols, row.data(), row.size() * sizeof(float)), 0);
}

TEST(Parameters, CopiesOfTheEmbeddingAreSharedIfTheyAreEqual) {
  namespace fs = std::filesystem;
  const KernelSet& kernels = **ChooseKernelSet("");
  const std::string copy = "model.layers.2.embed_tokens.weight";
  const auto model = std::move(*Model::Open(Folder("v32_mtp")));  // an embedding and a head of its own, equal
  const auto apart = std::move(*Parameters::Copy(*model, kernels, MtpCopies::kApart));
  EXPECT_TRUE(Find(*apart, copy));
  EXPECT_NE(apart->model()->weights().mtp->head.data, apart->model()->weights().lm_head.data);
  const auto shared = Parameters::Copy(*model, kernels, MtpCopies::kShared);
  ASSERT_TRUE(shared) << shared.error().message;
  EXPECT_FALSE(Find(**shared, copy));
  const ModelWeights& weights = (*shared)->model()->weights();
  EXPECT_EQ(weights.mtp->embed_tokens.data, weights.embed_tokens.data);
  EXPECT_EQ(weights.mtp->head.data, weights.lm_head.data);

  // One bit of one of them.
  const std::string folder = testing::TempDir() + "minke-parameters-copies";
  fs::remove_all(folder);
  fs::create_directories(folder);
  fs::copy_file(Folder("v32_mtp") + "/config.json", folder + "/config.json");
  std::string bytes = *ReadFile(Folder("v32_mtp") + "/model.safetensors", int64_t{1} << 30);
  const auto file = std::move(*OpenSafetensors(Folder("v32_mtp") + "/model.safetensors"));
  const auto tensor = file->Find(copy)->bytes;
  bytes[bytes.find(std::string_view(reinterpret_cast<const char*>(tensor.data()), tensor.size()))] ^= 1;
  std::ofstream(folder + "/model.safetensors", std::ios::binary) << bytes;
  const auto changed = std::move(*Model::Open(folder));
  EXPECT_TRUE(Parameters::Copy(*changed, kernels, MtpCopies::kApart));
  const auto refused = Parameters::Copy(*changed, kernels, MtpCopies::kShared);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnsupported);
  fs::remove_all(folder);
}

TEST(Parameters, RandomOnesAreNormalAndAPureFunctionOfTheSeed) {
  const ModelConfig config = ConfigOf("gradients");
  const auto a = std::move(*Parameters::Random(config, 7, 0.02)), b = std::move(*Parameters::Random(config, 7, 0.02)),
             other = std::move(*Parameters::Random(config, 8, 0.02));
  EXPECT_EQ(std::memcmp(a->values().data(), b->values().data(), a->values().size_bytes()), 0);
  EXPECT_NE(std::memcmp(a->values().data(), other->values().data(), a->values().size_bytes()), 0);
  double sum = 0, square = 0, fourth = 0, count = 0;
  for (const Parameter& p : a->list()) {
    for (const float value : a->values_of(p)) {
      const double v = static_cast<double>(value) / 0.02;
      if (p.kind == ParameterKind::kMatrix) {
        ++count, sum += v, square += v * v, fourth += v * v * v * v;
      } else {
        ASSERT_EQ(value, p.name.ends_with("norm.weight") ? 1.0f : 0.0f) << p.name;
      }
    }
  }
  const double error = 4 / std::sqrt(count);  // four standard errors of the mean; more for the higher moments
  EXPECT_NEAR(sum / count, 0, error);
  EXPECT_NEAR(square / count, 1, 2 * error);
  EXPECT_NEAR(fourth / count, 3, 10 * error);
  EXPECT_NE(a->values_of(a->list()[0])[0], a->values_of(*Find(*a, "lm_head.weight"))[0]) << "a stream for each tensor";
}

TEST(Parameters, TheModelReadsThemInPlaceAndVectorsWhenPublished) {
  const auto parameters = std::move(*Parameters::Random(ConfigOf("gradients"), 7, 0.02));
  const ModelWeights& weights = parameters->model()->weights();
  const Parameter& matrix = *Find(*parameters, "model.layers.1.self_attn.kv_b_proj.weight");
  const Parameter& norm = *Find(*parameters, "model.layers.1.input_layernorm.weight");
  EXPECT_EQ(parameters->OffsetOf(weights.layers[1].kv_b_proj.data), matrix.offset);
  EXPECT_EQ(parameters->OffsetOf(weights.layers[1].kv_b_proj.row(2)), matrix.offset + 2 * matrix.shape[1]);
  EXPECT_EQ(parameters->OffsetOf(weights.layers[1].input_layernorm), norm.offset);
  parameters->values_of(matrix)[3] = 5;
  parameters->values_of(norm)[3] = 6;
  EXPECT_EQ(static_cast<const float*>(weights.layers[1].kv_b_proj.data)[3], 5);
  EXPECT_EQ(weights.layers[1].input_layernorm[3], 1);
  parameters->Publish();
  EXPECT_EQ(weights.layers[1].input_layernorm[3], 6);
}

}  // namespace
}  // namespace minke
