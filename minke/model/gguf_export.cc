#include "minke/model/gguf_export.h"

#include <algorithm>
#include <filesystem>

#include "minke/base/file.h"
#include "minke/model/gguf_names.h"
#include "minke/model/weights.h"
#include "minke/tensor/block.h"
#include "minke/tensor/checkpoint.h"
#include "minke/tensor/encode.h"

namespace minke {
namespace {

std::string_view ArchOf(const ModelConfig& c) {
  return c.family == Family::kDeepseekV32 ? "deepseek32" : c.family == Family::kGlmMoeDsa ? "glm-dsa" : "deepseek2";
}

// The first ends a text; llama.cpp has names for two more.
constexpr std::string_view kEnds[] = {"eos", "eot", "eom"};

enum class Part { kWhole, kKeys, kValues };  // of kv_b_proj; others are whole

struct OutTensor {
  std::string name, source;  // in GGUF; in the checkpoint, for messages
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::vector<WeightView> views;  // of a matrix; several are the experts
  std::vector<float> floats;      // of a vector
  Part part = Part::kWhole;

  int64_t bytes() const {
    int64_t rows = 1;
    for (size_t d = 0; d + 1 < shape.size(); ++d) rows *= shape[d];
    return rows * RowBytes(dtype, shape.back());
  }
};

// Walks the names of a layer.
class Collector {
 public:
  Collector(const ModelConfig& config, std::optional<DType> dtype) : c_(config), dtype_(dtype) {}

  std::vector<OutTensor> tensors;
  std::string prefix;

  void Matrix(const std::string& name, const WeightView& view, int64_t rows, int64_t cols) {
    const std::string full = prefix + name, gguf = *GgufNameOf(full);
    if (name == "self_attn.kv_b_proj.weight") return KvB(full, view);
    if (gguf.ends_with("_exps.weight")) {
      const auto same = std::ranges::find(tensors, gguf, &OutTensor::name);
      if (same != tensors.end()) {
        same->views.push_back(view);
        ++same->shape[0];
      } else {
        tensors.push_back({gguf, full, TypeOf(view.dtype, cols), {1, rows, cols}, {view}, {}, Part::kWhole});
      }
      return;
    }
    const DType dtype = name == "mlp.gate.weight" ? DType::kF32 : TypeOf(view.dtype, cols);
    tensors.push_back({gguf, full, dtype, {rows, cols}, {view}, {}, Part::kWhole});
  }
  void Vector(const std::string& name, const std::vector<float>& floats, int64_t size) {
    tensors.push_back({*GgufNameOf(prefix + name), prefix + name, DType::kF32, {size}, {}, floats, Part::kWhole});
  }

 private:
  // llama.cpp's attention works on the absorbed form.
  void KvB(const std::string& full, const WeightView& view) {
    const int64_t heads = c_.num_attention_heads, rank = c_.kv_lora_rank, dn = c_.qk_nope_head_dim, dv = c_.v_head_dim;
    const std::string gguf = *GgufNameOf(full);
    const std::string stem = gguf.substr(0, gguf.rfind("kv_b.weight"));
    tensors.push_back({stem + "k_b.weight", full, TypeOf(view.dtype, dn), {heads, rank, dn}, {view}, {}, Part::kKeys});
    tensors.push_back(
        {stem + "v_b.weight", full, TypeOf(view.dtype, rank), {heads, dv, rank}, {view}, {}, Part::kValues});
  }

  DType TypeOf(DType stored, int64_t cols) const {
    const bool plain = stored == DType::kF32 || stored == DType::kF16 || stored == DType::kBF16;
    const DType wanted = dtype_.value_or(plain ? stored : DType::kBF16);
    return IsBlocked(wanted) && cols % BlockCols(wanted) != 0 ? DType::kF16 : wanted;
  }

  const ModelConfig& c_;
  std::optional<DType> dtype_;
};

std::vector<OutTensor> Collect(const Model& model, std::optional<DType> dtype, bool with_mtp) {
  const ModelConfig& c = model.config();
  const ModelWeights& w = model.weights();
  Collector collect(c, dtype);
  collect.Matrix("model.embed_tokens.weight", w.embed_tokens, c.vocab_size, c.hidden_size);
  const size_t layers = static_cast<size_t>(c.num_hidden_layers) + (with_mtp ? 1 : 0);
  for (size_t i = 0; i < layers; ++i) {
    collect.prefix = fmt::format("model.layers.{}.", i);
    LayerWeights layer = w.layers[i];
    layer.ForEachTensor(c, static_cast<int64_t>(i), collect);
  }
  if (with_mtp) {
    const int64_t d = c.hidden_size;
    const MtpWeights& mtp = *w.mtp;
    collect.Matrix("eh_proj.weight", mtp.eh_proj, d, 2 * d);
    collect.Vector("enorm.weight", mtp.enorm, d);
    collect.Vector("hnorm.weight", mtp.hnorm, d);
    collect.Vector("shared_head.norm.weight", mtp.shared_head_norm, d);
    if (mtp.embed_tokens.data != w.embed_tokens.data)
      collect.Matrix("embed_tokens.weight", mtp.embed_tokens, c.vocab_size, d);
    if (mtp.head.data != w.lm_head.data) collect.Matrix("shared_head.head.weight", mtp.head, c.vocab_size, d);
  }
  collect.prefix.clear();
  collect.Vector("model.norm.weight", w.norm, c.hidden_size);
  if (!c.tie_word_embeddings) collect.Matrix("lm_head.weight", w.lm_head, c.vocab_size, c.hidden_size);
  return std::move(collect.tensors);
}

// The rows of attn_k_b [heads, rank, dn] or attn_v_b [heads, dv, rank] as a matrix in F32.
std::vector<float> PartOfKvB(const OutTensor& t, const ModelConfig& c, const KernelSet& kernels) {
  const WeightView& w = t.views[0];
  const int64_t dn = c.qk_nope_head_dim, dv = c.v_head_dim, rank = c.kv_lora_rank;
  std::vector<float> row(static_cast<size_t>(rank)), out;
  out.resize(static_cast<size_t>(t.shape[0] * t.shape[1] * t.shape[2]));
  for (int64_t h = 0; h < c.num_attention_heads; ++h)
    for (int64_t i = 0; i < t.shape[t.part == Part::kKeys ? 2 : 1]; ++i) {
      kernels.dequantize_row(w, h * (dn + dv) + (t.part == Part::kKeys ? i : dn + i), row.data());
      for (int64_t r = 0; r < rank; ++r) {
        const int64_t place = t.part == Part::kKeys ? (h * rank + r) * dn + i : (h * dv + i) * rank + r;
        out[static_cast<size_t>(place)] = row[static_cast<size_t>(r)];
      }
    }
  return out;
}

Status AppendTensor(const OutTensor& t, const Model& model, const KernelSet& kernels, ThreadPool& pool,
                    const AppendFn& append) {
  std::vector<WeightView> views = t.views;
  std::vector<float> joined;
  if (t.part != Part::kWhole) {
    joined = PartOfKvB(t, model.config(), kernels);
    views = {{.dtype = DType::kF32, .data = joined.data(), .rows = t.shape[0] * t.shape[1], .cols = t.shape[2]}};
  }
  if (views.empty()) MINKE_TRY(append(std::as_bytes(std::span(t.floats))));
  std::vector<std::byte> bytes;
  for (const WeightView& view : views) {
    if (!EncodeMatrix(view, t.dtype, kernels, pool, bytes))
      return Fail(Code::kDamaged, "{}: tensor {} holds values that are not finite, or too large",
                  model.checkpoint().FileOf(t.source), t.source);
    MINKE_TRY(append(bytes));
  }
  bytes.assign(static_cast<size_t>(GgufPadding(t.bytes())), std::byte{0});
  return append(bytes);
}

}  // namespace

Status AddConfig(const ModelConfig& c, GgufWriter& writer) {
  const auto refuse = [](std::string_view what) {
    return Fail(Code::kUnsupported, "GGUF cannot say this model: {}", what);
  };
  const bool glm = c.family == Family::kGlmMoeDsa;
  if (c.attention_bias) return refuse("attention_bias is true");
  if (c.has_indexer() && (c.index_rope == RopePairing::kInterleaved) != glm)
    return refuse("the indexer pairs its dimensions in the other family's way");
  // Dense layers come first, or all are dense; the MTP layer is not asked.
  const auto begin = c.is_moe_layer.begin(), end = begin + c.num_hidden_layers;
  const auto first_moe = std::find(begin, end, true);
  if (std::find(first_moe, end, false) != end) return refuse("dense layers come after MoE layers");
  if (c.yarn && (c.yarn->mscale != c.yarn->mscale_all_dim || c.yarn->mscale == 0 || c.yarn->attention_factor))
    return refuse("YaRN's mscale differs from mscale_all_dim, or attention_factor is set");

  const std::string_view arch = ArchOf(c);
  const auto key = [&](std::string_view name) { return fmt::format("{}.{}", arch, name); };
  writer.String("general.architecture", arch);
  writer.Int(key("vocab_size"), c.vocab_size);
  writer.Int(key("context_length"), c.max_position_embeddings);
  writer.Int(key("embedding_length"), c.hidden_size);
  writer.Int(key("feed_forward_length"), c.intermediate_size);
  writer.Int(key("attention.head_count"), c.num_attention_heads);
  writer.Int(key("attention.head_count_kv"), 1);  // absorbed: one latent for all heads
  writer.Float(key("attention.layer_norm_rms_epsilon"), double{c.rms_norm_eps});
  if (c.q_lora_rank > 0) writer.Int(key("attention.q_lora_rank"), c.q_lora_rank);
  writer.Int(key("attention.kv_lora_rank"), c.kv_lora_rank);
  writer.Int(key("attention.key_length"), c.latent_dim());
  writer.Int(key("attention.value_length"), c.kv_lora_rank);
  writer.Int(key("attention.key_length_mla"), c.qk_head_dim());
  writer.Int(key("attention.value_length_mla"), c.v_head_dim);
  if (c.has_indexer()) {
    writer.Int(key("attention.indexer.head_count"), c.index_n_heads);
    writer.Int(key("attention.indexer.key_length"), c.index_head_dim);
    writer.Int(key("attention.indexer.top_k"), c.index_topk);
    if (glm)
      writer.Bools(key("attention.indexer.types"),
                   {c.has_own_indexer.begin(), c.has_own_indexer.begin() + c.num_hidden_layers});
  }
  writer.Int(key("leading_dense_block_count"), first_moe - begin);
  if (first_moe != end) {
    writer.Int(key("expert_feed_forward_length"), c.moe_intermediate_size);
    writer.Int(key("expert_count"), c.n_routed_experts);
    writer.Int(key("expert_used_count"), c.num_experts_per_tok);
    writer.Int(key("expert_shared_count"), c.n_shared_experts);
    if (c.n_group > 1 && c.topk_method != TopkMethod::kGreedy) {
      writer.Int(key("expert_group_count"), c.n_group);
      writer.Int(key("expert_group_used_count"), c.topk_group);
    }
    writer.Int(key("expert_gating_func"), c.scoring_func == RouterScore::kSigmoid ? 2 : 1);
    writer.Float(key("expert_weights_scale"), double{c.routed_scaling_factor});
    writer.Bool(key("expert_weights_norm"), c.norm_topk_prob);
  }
  writer.Int(key("rope.dimension_count"), c.qk_rope_head_dim);
  writer.Float(key("rope.freq_base"), c.rope_theta);
  if (c.yarn) {
    writer.String(key("rope.scaling.type"), "yarn");
    writer.Float(key("rope.scaling.factor"), c.yarn->factor);
    writer.Int(key("rope.scaling.original_context_length"),
               static_cast<int64_t>(c.yarn->original_max_position_embeddings));
    writer.Float(key("rope.scaling.yarn_beta_fast"), c.yarn->beta_fast);
    writer.Float(key("rope.scaling.yarn_beta_slow"), c.yarn->beta_slow);
    writer.Float(key("rope.scaling.yarn_log_multiplier"), 0.1 * c.yarn->mscale_all_dim);
  }
  if (c.bos_token_id) writer.Int("tokenizer.ggml.bos_token_id", *c.bos_token_id);
  for (size_t i = 0; i < std::min(std::size(kEnds), c.eos_token_ids.size()); ++i)
    writer.Int(fmt::format("tokenizer.ggml.{}_token_id", kEnds[i]), c.eos_token_ids[i]);
  return {};
}

Result<std::vector<std::string>> ExportGguf(const Model& model, GgufWriter writer, const std::string& out,
                                            std::optional<DType> dtype, const KernelSet& kernels, ThreadPool& pool,
                                            const ProgressFn& progress) {
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::symlink_status(out, error)))
    return Fail(Code::kInvalidArgument, "{}: exists; remove it or choose another name", out);
  const ModelConfig& c = model.config();
  MINKE_TRY(AddConfig(c, writer));
  std::vector<std::string> left_out;
  // llama.cpp's converters keep the MTP layer for GLM alone.
  const bool glm = c.family == Family::kGlmMoeDsa, with_mtp = model.has_mtp() && glm;
  if (model.has_mtp() && !glm) left_out.push_back("the MTP layer is left out, as llama.cpp's converters do");
  if (!model.weights().unused.empty())
    left_out.push_back(
        fmt::format("{} tensors that the configuration does not call for are left out", model.weights().unused.size()));
  if (c.eos_token_ids.size() > std::size(kEnds))
    left_out.push_back(fmt::format("GGUF has names for {} end tokens, so the end tokens {} are left out",
                                   std::size(kEnds),
                                   fmt::join(std::span(c.eos_token_ids).subspan(std::size(kEnds)), ", ")));
  const std::string arch(ArchOf(c));
  writer.Int(arch + ".block_count", c.num_hidden_layers + (with_mtp ? 1 : 0));
  if (with_mtp) writer.Int(arch + ".nextn_predict_layers", 1);

  const std::vector<OutTensor> tensors = Collect(model, dtype, with_mtp);
  double total = 0, done = 0;
  for (const OutTensor& t : tensors) {
    writer.Tensor(t.name, t.dtype, t.shape);
    total += static_cast<double>(t.bytes());
  }
  const auto write = [&](const AppendFn& append) -> Status {
    const std::string header = writer.Header();
    MINKE_TRY(append(std::as_bytes(std::span(header))));
    for (const OutTensor& t : tensors) {
      MINKE_TRY(AppendTensor(t, model, kernels, pool, append));
      done += static_cast<double>(t.bytes());
      progress(done, total);
    }
    return model.Health();  // zeros from a file that failed must not be written as weights
  };
  MINKE_TRY(WriteFileAtomic(out, write));
  return left_out;
}

}  // namespace minke
