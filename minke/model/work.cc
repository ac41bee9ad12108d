#include "minke/model/work.h"

#include <algorithm>
#include <cmath>

#include "minke/model/split.h"
#include "minke/model/weights.h"

namespace minke {
namespace {

// How much of a tensor a step uses.
struct Use {
  double reads = 0;  // of the tensor in the step; for one of many experts the chance of it
  double rows = 0;   // that are multiplied with it
};

Use UseOf(const ModelConfig& c, const StepShape& shape, const Visible& visible, const std::string& name) {
  const auto rows = static_cast<double>(shape.batch * shape.tokens);
  if (name.starts_with("mlp.experts.")) {
    const auto experts = static_cast<double>(c.n_routed_experts);
    const double chance = static_cast<double>(c.num_experts_per_tok) / experts;
    // A token misses an expert with 1 - chance; even routing.
    const double chosen = shape.experts.value_or(experts * (1 - std::pow(1 - chance, rows)));
    return {chosen / experts, rows * chance};
  }
  if (!name.starts_with("self_attn.indexer.")) return {1, rows};
  if (shape.attention != Attention::kDsa) return {0, 0};
  // A token's key is always cached; its queries are needed only where there is something to select.
  if (name.ends_with("wq_b.weight") || name.ends_with("weights_proj.weight"))
    return {visible.selecting > 0 ? 1.0 : 0.0, static_cast<double>(shape.batch) * visible.selecting};
  return {1, rows};
}

// Walks the list of names of a layer and adds up.
struct WeightCounter {
  const ModelConfig& c;
  const StepShape& shape;
  const Visible& visible;
  Work& work;

  void Matrix(const std::string& name, const WeightView& w, int64_t rows, int64_t cols) {
    const Use use = UseOf(c, shape, visible, name);
    work.weight_bytes += use.reads * static_cast<double>(w.bytes());
    double& operations = IsTiled(w.dtype) ? work.i8_op : work.weight_flop;
    operations += use.rows * 2 * static_cast<double>(rows) * static_cast<double>(cols);
  }
  void Vector(const std::string& name, const std::vector<float>&, int64_t size) {
    work.weight_bytes += UseOf(c, shape, visible, name).reads * static_cast<double>(size) * sizeof(float);
  }
};

// The same walk, product by product.
struct ProductLister {
  const ModelConfig& c;
  const StepShape& shape;
  const Visible& visible;
  std::vector<Product>& list;

  void Add(const Product& product) {
    for (Product& known : list) {
      Product same = known;
      same.times = product.times;
      if (same != product) continue;
      known.times += product.times;
      return;
    }
    list.push_back(product);
  }
  void Matrix(const std::string& name, const WeightView& w, int64_t rows, int64_t cols) {
    const Use use = UseOf(c, shape, visible, name);
    if (use.reads == 0) return;
    // Where one row of a step selects, all of its rows get index queries.
    const int64_t all_rows = shape.batch * shape.tokens;
    const bool expert = name.starts_with("mlp.experts.");
    const int64_t x_rows = expert ? std::max<int64_t>(1, std::llround(use.rows / use.reads)) : all_rows;
    if (name != "self_attn.kv_b_proj.weight") {
      if (name.ends_with(".up_proj.weight")) return;  // goes with gate_proj, as in ffn.cc
      const int64_t together = name.ends_with(".gate_proj.weight") ? 2 : 1;
      Add({.dtype = w.dtype, .rows = together * rows, .cols = cols, .x_rows = x_rows, .times = use.reads});
      return;
    }
    const int64_t tile = std::min(x_rows, kAttentionTile);
    const double times = static_cast<double>(c.num_attention_heads * x_rows) / static_cast<double>(tile);
    Product of_head = {.dtype = w.dtype, .cols = cols, .x_rows = tile, .split = Product::Split::kHeads, .times = times};
    of_head.rows = c.v_head_dim;
    Add(of_head);
    of_head.rows = c.qk_nope_head_dim, of_head.transposed = true;
    Add(of_head);
  }
  void Vector(const std::string&, const std::vector<float>&, int64_t) {}
};

}  // namespace

Work& Work::operator+=(const Work& other) {
  weight_bytes += other.weight_bytes, index_bytes += other.index_bytes, latent_bytes += other.latent_bytes;
  weight_flop += other.weight_flop, index_flop += other.index_flop, attention_flop += other.attention_flop;
  i8_op += other.i8_op;
  return *this;
}

Visible CountVisible(const ModelConfig& c, const StepShape& shape) {
  const auto tokens = static_cast<double>(shape.tokens), depth = static_cast<double>(shape.depth);
  Visible visible;
  visible.attended = visible.all = tokens * depth + tokens * (tokens + 1) / 2;
  if (!c.has_indexer() || shape.attention != Attention::kDsa) return visible;
  const auto topk = static_cast<double>(c.index_topk);
  visible.selecting = std::clamp(depth + tokens - topk, 0.0, tokens);
  visible.scored = visible.selecting * (depth + tokens) - visible.selecting * (visible.selecting - 1) / 2;
  visible.attended = visible.all - visible.scored + visible.selecting * topk;
  return visible;
}

std::vector<Product> ListProducts(const Model& model, const StepShape& shape) {
  return ListProducts(model.config(), model.weights(), shape);
}

std::vector<Product> ListProducts(const ModelConfig& c, const ModelWeights& weights, const StepShape& shape) {
  const Visible visible = CountVisible(c, shape);
  std::vector<Product> list;
  ProductLister lister{c, shape, visible, list};
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    LayerWeights layer = weights.layers[static_cast<size_t>(i)];  // as in CountWork
    layer.ForEachTensor(c, i, lister);
  }
  if (shape.logits) {
    const WeightView& head = weights.lm_head;
    lister.Add(
        {.dtype = head.dtype, .rows = head.rows, .cols = head.cols, .x_rows = shape.batch, .head = true, .times = 1});
  }
  return list;
}

Work CountWork(const Model& model, const StepShape& shape) { return CountWork(model.config(), model.weights(), shape); }

Work CountWork(const ModelConfig& c, const ModelWeights& weights, const StepShape& shape) {
  const Visible visible = CountVisible(c, shape);
  const auto batch = static_cast<double>(shape.batch), in_cache = static_cast<double>(shape.depth + shape.tokens);
  const auto rank = static_cast<double>(c.kv_lora_rank), heads = static_cast<double>(c.num_attention_heads);
  const auto index_heads = static_cast<double>(c.index_n_heads), index_dim = static_cast<double>(c.index_head_dim);
  const auto row_bytes = [](RowFormat format, int64_t n, int64_t exact) {
    return static_cast<double>(RowFloats(format, n, exact)) * sizeof(float);
  };
  Work work;
  WeightCounter counter{c, shape, visible, work};
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    LayerWeights layer = weights.layers[static_cast<size_t>(i)];  // the list hands out references that may be written
    layer.ForEachTensor(c, i, counter);
    // Absorbed: q . (c, k_pe) and the sum of c, for every head. kv_b_proj is counted once a row among the weights, half
    // of it for the query and half for the result. Queries of one sequence may share a row that was read.
    (shape.cache.latents == RowFormat::kInt8 ? work.i8_op : work.attention_flop) +=
        batch * visible.attended * 2 * heads * (2 * rank + static_cast<double>(c.qk_rope_head_dim));
    work.latent_bytes += batch * std::min(in_cache, visible.attended) *
                         row_bytes(shape.cache.latents, c.kv_lora_rank, c.qk_rope_head_dim);
    if (visible.selecting == 0 || !c.has_own_indexer[static_cast<size_t>(i)]) continue;
    (shape.cache.index_keys == RowFormat::kInt8 ? work.i8_op : work.index_flop) +=
        batch * visible.scored * 2 * index_heads * (index_dim + 1);
    work.index_bytes += batch * in_cache * row_bytes(shape.cache.index_keys, c.index_head_dim, 0);
  }
  const auto vocab = static_cast<double>(c.vocab_size), width = static_cast<double>(c.hidden_size);
  const double rows = batch * static_cast<double>(shape.tokens);
  work.weight_bytes += std::min(rows, vocab) * static_cast<double>(weights.embed_tokens.bytes()) / vocab;
  work.weight_bytes += width * sizeof(float);  // model.norm
  if (!shape.logits) return work;
  work.weight_bytes += static_cast<double>(weights.lm_head.bytes());
  double& operations = IsTiled(weights.lm_head.dtype) ? work.i8_op : work.weight_flop;
  operations += batch * 2 * vocab * width;
  return work;
}

}  // namespace minke
