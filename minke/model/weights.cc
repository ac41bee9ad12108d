#include "minke/model/weights.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace minke {
namespace {

constexpr int64_t kDefaultBlock = 128;      // FP8 files without a quantization_config
constexpr float kScaleLimit = 0x1p120f;     // from here on the largest code, 448, overflows F32
constexpr float kRowScaleLimit = 0x1p100f;  // of tiles, whose largest code * s^2 is 2^22

// Walks LayerWeights::ForEachTensor; the first problem stays in `status` and later calls do nothing.
class Loader {
 public:
  Loader(const ModelConfig& config, const Checkpoint& checkpoint, ModelWeights& weights)
      : config_(config), checkpoint_(checkpoint), weights_(weights) {}

  void Enter(std::string prefix) { prefix_ = std::move(prefix); }
  Status status = {};

  void Matrix(const std::string& name, WeightView& view, int64_t rows, int64_t cols) {
    if (!status) return;
    status = LoadMatrix(prefix_ + name, view, rows, cols);
  }
  void Vector(const std::string& name, std::vector<float>& floats, int64_t size) {
    if (!status) return;
    status = LoadVector(prefix_ + name, floats, size);
  }
  bool Has(const std::string& name) const { return checkpoint_.Find(prefix_ + name) != nullptr; }

  std::vector<std::string> Unused() const {
    std::vector<std::string> unused;
    for (const std::string& name : checkpoint_.Names())
      if (!used_.contains(name)) unused.push_back(name);
    return unused;
  }

 private:
  Result<const TensorRef*> Find(const std::string& name, const std::vector<int64_t>& shape) {
    const TensorRef* tensor = checkpoint_.Find(name);
    if (!tensor)
      return Fail(Code::kDamaged, "{}: tensor {} is missing (expected shape {}); is a shard absent?",
                  checkpoint_.path(), name, ShapeText(shape));
    if (tensor->shape != shape)
      return Fail(Code::kDamaged, "{}: tensor {} has shape {}, expected {} by the configuration",
                  checkpoint_.FileOf(name), name, ShapeText(tensor->shape), ShapeText(shape));
    used_.insert(name);
    return tensor;
  }

  Status LoadMatrix(const std::string& name, WeightView& view, int64_t rows, int64_t cols) {
    if (const TensorRef* stored = checkpoint_.Find(name); config_.has_tiles && stored && stored->dtype == DType::kU8)
      return LoadTiles(name, *stored, view, rows, cols);
    MINKE_ASSIGN(const TensorRef* tensor, Find(name, {rows, cols}));
    switch (tensor->dtype) {
      case DType::kF32:
      case DType::kF16:
      case DType::kBF16:
      case DType::kF8E4M3:
        break;
      default:
        if (IsBlocked(tensor->dtype)) break;
        return Fail(Code::kUnsupported, "{}: tensor {} is {}; weights must be F32, F16, BF16 or F8_E4M3",
                    checkpoint_.FileOf(name), name, DTypeName(tensor->dtype));
    }
    view = {.dtype = tensor->dtype, .data = tensor->bytes.data(), .rows = rows, .cols = cols};
    return tensor->dtype == DType::kF8E4M3 ? LoadScales(name + "_scale_inv", view) : Status{};
  }

  // The width of a tile tells its format.
  Status LoadTiles(const std::string& name, const TensorRef& stored, WeightView& view, int64_t rows, int64_t cols) {
    const int64_t width = stored.shape.empty() ? 0 : stored.shape.back();
    DType dtype = DType::kQ8;
    for (const DType other : {DType::kQ6, DType::kQ4})
      if (width == TileBytes(other)) dtype = other;
    MINKE_ASSIGN(const TensorRef* tensor, Find(name, {RowTiles(rows), ColTiles(cols), TileBytes(dtype)}));
    view = {.dtype = dtype, .data = tensor->bytes.data(), .rows = rows, .cols = cols};
    if (!HasMinimum(dtype)) return {};
    MINKE_ASSIGN(const TensorRef* scales, Find(name + std::string(kRowScalesSuffix), {RowTiles(rows), 2, kTileRows}));
    if (scales->dtype != DType::kF32)
      return Fail(Code::kDamaged, "{}: tensor {}{} is {}, expected F32", checkpoint_.FileOf(name), name,
                  kRowScalesSuffix, DTypeName(scales->dtype));
    view.scales = reinterpret_cast<const float*>(scales->bytes.data());  // 4-byte aligned: the parser checked
    for (int64_t i = 0; i < scales->num_elements(); ++i)
      if (!(view.scales[i] >= 0 && view.scales[i] < kRowScaleLimit))
        return Fail(Code::kDamaged,
                    "{}: tensor {}{} has the scale {} at element {}; scales must be at least 0 and below 2^100",
                    checkpoint_.FileOf(name), name, kRowScalesSuffix, view.scales[i], i);
    return {};
  }

  // weight_scale_inv is the multiplier, in spite of its name.
  Status LoadScales(const std::string& name, WeightView& view) {
    view.block_rows = config_.fp8_block_rows > 0 ? config_.fp8_block_rows : kDefaultBlock;
    view.block_cols = config_.fp8_block_cols > 0 ? config_.fp8_block_cols : kDefaultBlock;
    const int64_t scale_rows = (view.rows + view.block_rows - 1) / view.block_rows;
    MINKE_ASSIGN(const TensorRef* tensor, Find(name, {scale_rows, view.scale_stride()}));
    MINKE_TRY(CheckFloatDtype(name, *tensor, /*accept_e8m0=*/true));
    const int64_t count = tensor->num_elements();
    if (tensor->dtype == DType::kF32) {
      view.scales = reinterpret_cast<const float*>(tensor->bytes.data());  // 4-byte aligned: the parser checked
    } else {
      std::vector<float>& scales = weights_.converted_scales.emplace_back(static_cast<size_t>(count));
      for (int64_t i = 0; i < count; ++i) scales[static_cast<size_t>(i)] = ValueAt(*tensor, i);
      view.scales = scales.data();
    }
    for (int64_t i = 0; i < count; ++i)
      if (!(view.scales[i] > 0 && view.scales[i] < kScaleLimit))
        return Fail(Code::kDamaged,
                    "{}: tensor {} has the scale {} at [{}, {}]; scales must be positive and below 2^120",
                    checkpoint_.FileOf(name), name, view.scales[i], i / view.scale_stride(), i % view.scale_stride());
    return {};
  }

  Status LoadVector(const std::string& name, std::vector<float>& floats, int64_t size) {
    MINKE_ASSIGN(const TensorRef* tensor, Find(name, {size}));
    MINKE_TRY(CheckFloatDtype(name, *tensor, /*accept_e8m0=*/false));
    floats.resize(static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i) floats[static_cast<size_t>(i)] = ValueAt(*tensor, i);
    return {};
  }

  Status CheckFloatDtype(const std::string& name, const TensorRef& tensor, bool accept_e8m0) {
    const DType d = tensor.dtype;
    if (d == DType::kF32 || d == DType::kF16 || d == DType::kBF16 || (accept_e8m0 && d == DType::kF8E8M0)) return {};
    return Fail(Code::kUnsupported, "{}: tensor {} is {}, expected {}", checkpoint_.FileOf(name), name, DTypeName(d),
                accept_e8m0 ? "F32, BF16 or F8_E8M0" : "F32, F16 or BF16");
  }

  const ModelConfig& config_;
  const Checkpoint& checkpoint_;
  ModelWeights& weights_;
  std::string prefix_;
  std::set<std::string, std::less<>> used_;
};

}  // namespace

Result<ModelWeights> LoadWeights(const ModelConfig& config, const Checkpoint& checkpoint) {
  ModelWeights weights;
  Loader load(config, checkpoint, weights);
  weights.ForEachTensor(config, load);
  MINKE_TRY(load.status);
  for (size_t i = 0; i < weights.layers.size(); ++i)
    // Attention takes kv_b_proj apart, and a tile cannot be.
    if (IsTiled(weights.layers[i].kv_b_proj.dtype) && !HeadsAreTiles(config))
      return Fail(
          Code::kUnsupported,
          "{}: model.layers.{}.self_attn.kv_b_proj.weight is in tiles, but qk_nope_head_dim {} and v_head_dim {} "
          "are not multiples of {}",
          checkpoint.FileOf(fmt::format("model.layers.{}.self_attn.kv_b_proj.weight", i)), i, config.qk_nope_head_dim,
          config.v_head_dim, kTileRows);
  weights.unused = load.Unused();
  return weights;
}

}  // namespace minke
