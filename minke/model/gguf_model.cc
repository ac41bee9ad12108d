#include "minke/model/gguf_model.h"

#include <cstring>
#include <vector>

#include "minke/model/gguf_config.h"
#include "minke/model/gguf_names.h"

namespace minke {
namespace {

constexpr std::string_view kKeys = "attn_k_b.weight", kValues = "attn_v_b.weight", kWhole = "attn_kv_b.weight";
constexpr std::string_view kLayer = "blk.", kFused = "ffn_gate_up_exps.weight";

constexpr int64_t kMaxExperts = 1 << 14;  // as in config.cc

bool IsHalf(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16; }

// kv_b_proj [heads * (dn + dv), rank] from k_b [heads, rank, dn] and v_b [heads, dv, rank].
TensorRef JoinKvB(const TensorRef& k_b, const TensorRef& v_b, TensorFile& owner) {
  const int64_t heads = k_b.shape[0], rank = k_b.shape[1], dn = k_b.shape[2], dv = v_b.shape[1];
  const bool as_stored = k_b.dtype == v_b.dtype && IsHalf(k_b.dtype);
  const DType dtype = as_stored ? k_b.dtype : DType::kF32;
  const auto memory = owner.NewMemory(static_cast<size_t>(heads * (dn + dv) * rank * ElementBytes(dtype)));
  std::byte* out = memory.data();
  const auto put = [&](const TensorRef& from, int64_t row, int64_t col) {
    if (as_stored) {
      std::memcpy(out, from.bytes.data() + (row * from.shape.back() + col) * 2, 2);
    } else {
      const float value = ValueAt(from, row * from.shape.back() + col);
      std::memcpy(out, &value, sizeof value);
    }
    out += ElementBytes(dtype);
  };
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t i = 0; i < dn; ++i)
      for (int64_t r = 0; r < rank; ++r) put(k_b, h * rank + r, i);
    for (int64_t i = 0; i < dv; ++i)
      for (int64_t r = 0; r < rank; ++r) put(v_b, h * dv + i, r);
  }
  return {dtype, {heads * (dn + dv), rank}, memory};
}

// The tensors of one file under the checkpoint's names; a name that the table lacks stays as it is, and is reported as
// not used. attn_k_b and attn_v_b are left out. Two names for one tensor are refused.
Result<TensorMap> Rename(const TensorFile& file) {
  TensorMap renamed;
  const std::string& where = file.file().path();
  for (const auto& [name, tensor] : file.tensors()) {
    const auto layer = SplitLayerName(name, kLayer);
    if (name.starts_with(kLayer) && !layer)
      return Fail(Code::kDamaged, "{}: tensor {} is not named blk.N. with the number of a layer", where,
                  NameForMessage(name));
    if (layer && layer->rest == kFused)
      return Fail(Code::kUnsupported, "{}: tensor {} joins two matrices; minke reads ffn_gate_exps and ffn_up_exps",
                  where, NameForMessage(name));
    const auto put = [&](const std::string& as, TensorRef ref) -> Status {
      if (renamed.emplace(as, std::move(ref)).second) return {};
      return Fail(Code::kDamaged, "{}: tensor {} is there under two names, {} among them", where, NameForMessage(as),
                  NameForMessage(name));
    };
    const auto known = CheckpointNameOf(name);
    const bool split = name.ends_with(kKeys) || name.ends_with(kValues);
    if (split) continue;
    if (!known || !known->experts) {
      MINKE_TRY(put(known ? known->name : name, tensor));
      continue;
    }
    if (tensor.shape.size() != 3 || tensor.shape[0] > kMaxExperts)
      return Fail(Code::kDamaged, "{}: tensor {} has the shape {}, expected up to {} experts of two dimensions", where,
                  NameForMessage(name), ShapeText(tensor.shape), kMaxExperts);
    const size_t bytes = tensor.bytes.size() / static_cast<size_t>(tensor.shape[0]);
    for (int64_t e = 0; e < tensor.shape[0]; ++e)
      MINKE_TRY(put(fmt::format(fmt::runtime(known->name), e),
                    {tensor.dtype,
                     {tensor.shape[1], tensor.shape[2]},
                     tensor.bytes.subspan(static_cast<size_t>(e) * bytes, bytes)}));
  }
  return renamed;
}

struct Found {
  const TensorRef* tensor = nullptr;
  TensorFile* file = nullptr;
};
Found FindIn(const std::vector<std::unique_ptr<TensorFile>>& files, const std::string& name) {
  for (const auto& file : files)
    if (const TensorRef* tensor = file->Find(name)) return {tensor, file.get()};
  return {};
}

}  // namespace

Result<Json> ConfigOfGgufFiles(const GgufFiles& files, const std::string& path) {
  GgufTensorFacts facts;
  const Found embedding = FindIn(files.parts, "token_embd.weight");
  if (!embedding.tensor)
    return Fail(Code::kDamaged, "{}: tensor token_embd.weight is missing; is it a model, and all of it?", path);
  facts.vocab_size = embedding.tensor->shape[0];
  facts.has_output = FindIn(files.parts, "output.weight").tensor != nullptr;
  for (const auto& file : files.parts)
    for (const auto& entry : file->tensors()) {
      const std::string& name = entry.first;
      if (name.find(".exp_probs_b") != std::string::npos) facts.has_correction = true;
      if (name.ends_with(kKeys) || name.ends_with(kValues)) facts.has_split_kv_b = true;
    }
  return ConfigOfGguf(files.metadata, facts, path);
}

Result<GgufModel> OpenGgufModel(const std::string& path) {
  MINKE_ASSIGN(GgufFiles files, OpenGguf(path));
  GgufModel model;
  MINKE_ASSIGN(model.config, ConfigOfGgufFiles(files, path));
  std::vector<TensorMap> renamed;
  std::map<std::string, std::pair<Found, Found>> split;  // prefix -> keys, values
  for (const auto& file : files.parts) {
    MINKE_ASSIGN(TensorMap map, Rename(*file));
    renamed.push_back(std::move(map));
    for (const auto& [name, tensor] : file->tensors()) {
      if (name.ends_with(kKeys)) split[name.substr(0, name.size() - kKeys.size())].first = {&tensor, file.get()};
      if (name.ends_with(kValues)) split[name.substr(0, name.size() - kValues.size())].second = {&tensor, file.get()};
    }
  }
  for (const auto& [prefix, both] : split) {
    if (FindIn(files.parts, prefix + std::string(kWhole)).tensor) continue;  // some files have both forms
    const auto& [k_b, v_b] = both;
    const std::string name = NameForMessage(prefix);
    if (!k_b.tensor || !v_b.tensor)
      return Fail(Code::kDamaged, "{}: tensor {}{} is missing beside {}{}", path, name, k_b.tensor ? kValues : kKeys,
                  name, k_b.tensor ? kKeys : kValues);
    const auto &k = k_b.tensor->shape, &v = v_b.tensor->shape;
    if (k.size() != 3 || v.size() != 3 || k[0] != v[0] || k[1] != v[2])
      return Fail(Code::kDamaged,
                  "{}: tensors {}{} {} and {}{} {} are not one matrix [heads, rank, keys] and one "
                  "[heads, values, rank]",
                  path, name, kKeys, ShapeText(k), name, kValues, ShapeText(v));
    const auto layer = SplitLayerName(prefix + "x", kLayer);
    if (!layer) continue;
    const std::string whole = fmt::format("model.layers.{}.self_attn.kv_b_proj.weight", layer->layer);
    for (size_t i = 0; i < files.parts.size(); ++i)
      if (files.parts[i].get() == k_b.file &&
          !renamed[i].emplace(whole, JoinKvB(*k_b.tensor, *v_b.tensor, *k_b.file)).second)
        return Fail(Code::kDamaged, "{}: tensor {} is there under two names, {}{} among them", path, whole, name,
                    kKeys);
  }
  for (const auto& file : files.parts) MINKE_TRY(file->file().Health());
  for (size_t i = 0; i < files.parts.size(); ++i) files.parts[i]->set_tensors(std::move(renamed[i]));
  MINKE_ASSIGN(model.checkpoint, Checkpoint::Of(path, std::move(files.parts)));
  return model;
}

}  // namespace minke
