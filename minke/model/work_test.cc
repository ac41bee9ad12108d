#include "minke/model/work.h"

#include <gtest/gtest.h>

#include "minke/model/weights.h"

namespace minke {
namespace {

// Weights without numbers: shapes and dtypes as a release stores them.
struct Shapes {
  DType dtype;
  void Matrix(const std::string& name, WeightView& view, int64_t rows, int64_t cols) {
    const bool exact = name.ends_with("mlp.gate.weight") || name.ends_with("weights_proj.weight");
    view = {.dtype = exact ? DType::kBF16 : dtype, .rows = rows, .cols = cols};
    if (view.dtype == DType::kF8E4M3) view.block_rows = view.block_cols = 128;
  }
  void Vector(const std::string&, std::vector<float>&, int64_t) {}
};

struct Sized {
  ModelConfig config;
  ModelWeights weights;

  Sized(const char* json, DType dtype) : config(ParseModelConfig(json, "config.json").value()) {
    weights.layers.resize(static_cast<size_t>(config.num_hidden_layers));
    for (size_t i = 0; i < weights.layers.size(); ++i)
      weights.layers[i].ForEachTensor(config, static_cast<int64_t>(i), Shapes{dtype});
    weights.embed_tokens = {.dtype = DType::kBF16, .rows = config.vocab_size, .cols = config.hidden_size};
    weights.lm_head = weights.embed_tokens;
  }
  Work Count(const StepShape& shape) const { return CountWork(config, weights, shape); }
};

// The table of docs/performance.md. Caches are F32 here, twice its BF16.
TEST(Work, OneTokenOfDeepseekV32) {
  const Sized model(R"({"model_type": "deepseek_v32"})", DType::kF8E4M3);
  const Work short_context = model.Count({.depth = 2047});
  EXPECT_NEAR(short_context.attention_flop, 34.8e9, 0.05e9);
  EXPECT_NEAR(short_context.latent_bytes, 2 * 144e6, 1e6);
  EXPECT_EQ(short_context.index_flop, 0);
  const Work deep = model.Count({.depth = 131071});
  EXPECT_NEAR(deep.weight_bytes, 38.55e9, 0.01e9);
  EXPECT_NEAR(deep.weight_flop, 74.95e9, 0.01e9);
  EXPECT_NEAR(deep.attention_flop, 34.8e9, 0.05e9);
  EXPECT_NEAR(deep.latent_bytes, 2 * 144e6, 1e6);
  EXPECT_NEAR(deep.index_flop, 132e9, 0.5e9);
  EXPECT_NEAR(deep.index_bytes, 4 * 131072 * 128 * 61.0, 1);
  const Work dense = model.Count({.depth = 131071, .attention = Attention::kDense});
  EXPECT_NEAR(dense.attention_flop, 2227e9, 1e9);
  EXPECT_NEAR(dense.latent_bytes, 2 * 9.21e9, 0.02e9);
  EXPECT_EQ(dense.index_flop + dense.index_bytes, 0);
}

// 163 experts for 32 tokens, 8 for one: each is 3 * 7168 * 2048 bytes and its scales.
TEST(Work, EvenRoutingShares) {
  const Sized model(R"({"model_type": "deepseek_v32"})", DType::kF8E4M3);
  const double expert = 3 * 7168 * 2048 + 3 * 56 * 16 * 4, one = model.Count({}).weight_bytes;
  const double many = model.Count({.batch = 32}).weight_bytes - 31 * 7168 * 2;  // embedding rows
  EXPECT_NEAR((many - one) / expert / 58, 163.3 - 8, 0.1);
  EXPECT_NEAR((model.Count({.experts = 11}).weight_bytes - one) / expert / 58, 3, 1e-6);
}

constexpr const char* kTiny = R"({"model_type": "deepseek_v32", "vocab_size": 10, "hidden_size": 8,
  "num_hidden_layers": 2, "first_k_dense_replace": 1, "num_attention_heads": 2, "q_lora_rank": 4, "kv_lora_rank": 6,
  "qk_nope_head_dim": 3, "qk_rope_head_dim": 2, "v_head_dim": 5, "intermediate_size": 7, "moe_intermediate_size": 3,
  "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "n_shared_experts": 1,
  "index_n_heads": 2, "index_head_dim": 4, "index_topk": 3, "num_nextn_predict_layers": 0})";

// Numbers of a layer: attention 32 + 40 + 64 + 96 + 80, index key 32, index queries 32 + 16, norms 8 + 8 + 4 + 6, of
// the index key 4 + 4; dense 168; router 32 and its bias 4, an expert 72, the shared one 72; head 80.
TEST(Work, OneTokenByHand) {
  const Sized model(kTiny, DType::kBF16);
  const Work work = model.Count({.depth = 5});  // sees 6, attends to 3
  EXPECT_EQ(work.weight_flop, 2 * (2 * (312 + 32 + 48) + 168 + 32 + 2 * 72 + 72 + 80));
  EXPECT_EQ(work.weight_bytes, work.weight_flop + 8 * 2 + 4 * (2 * (26 + 8) + 4 + 8));
  EXPECT_EQ(work.index_flop, 2 * 6 * 2 * 2 * (4 + 1));
  EXPECT_EQ(work.index_bytes, 2 * 6 * 4 * 4);
  EXPECT_EQ(work.attention_flop, 2 * 3 * 2 * 2 * (6 + 6 + 2));
  EXPECT_EQ(work.latent_bytes, 2 * 3 * 8 * 4);

  const Work all = model.Count({.depth = 2});  // sees 3: nothing to select, so no index queries
  EXPECT_EQ(all.weight_flop, work.weight_flop - 2 * 2 * 48);
  EXPECT_EQ(all.index_flop + all.index_bytes, 0);
  EXPECT_EQ(all.attention_flop, work.attention_flop);

  const Work dense = model.Count({.depth = 5, .attention = Attention::kDense});
  EXPECT_EQ(dense.weight_flop, work.weight_flop - 2 * 2 * 80);
  EXPECT_EQ(dense.weight_bytes, work.weight_bytes - 2 * 2 * 80 - 2 * 8 * 4);
  EXPECT_EQ(dense.latent_bytes, 2 * 6 * 8 * 4);
}

// Two sequences of 4 tokens behind one: they see 2, 3, 4 and 5, the last two select.
TEST(Work, SeveralTokensByHand) {
  const Sized model(kTiny, DType::kBF16);
  const Work work = model.Count({.batch = 2, .tokens = 4, .depth = 1, .experts = 3});
  EXPECT_EQ(work.attention_flop, 2 * 2 * (2 + 3 + 3 + 3) * 2 * 2 * 14);
  EXPECT_EQ(work.latent_bytes, 2 * 2 * 5 * 8 * 4);  // each row once for all queries
  EXPECT_EQ(work.index_flop, 2 * 2 * (4 + 5) * 2 * 2 * 5);
  EXPECT_EQ(work.index_bytes, 2 * 2 * 5 * 4 * 4);
  const double per_row = 2 * (312 + 32) + 168 + 32 + 2 * 72 + 72, selecting = 2 * 48;
  EXPECT_EQ(work.weight_flop, 2 * (8 * per_row + 4 * selecting + 2 * 80));
  const double numbers = per_row + selecting + 72 + 80 + 8 * 8;  // three experts; 8 rows of the embedding
  EXPECT_EQ(work.weight_bytes, 2 * numbers + 4 * (2 * (26 + 8) + 4 + 8));
  const Work silent = model.Count({.batch = 2, .tokens = 4, .depth = 1, .logits = false, .experts = 3});
  EXPECT_EQ(silent.weight_bytes, work.weight_bytes - 160);
  EXPECT_EQ(silent.weight_flop, work.weight_flop - 2 * 2 * 80);
}

// The router, weights_proj and the head stay in BF16 here: 32, two of 16 and 80 numbers.
TEST(Work, ProductsWithTilesAreCountedApart) {
  const Work floats = Sized(kTiny, DType::kBF16).Count({.depth = 5}),
             tiles = Sized(kTiny, DType::kQ8).Count({.depth = 5});
  EXPECT_EQ(tiles.weight_flop, 2 * (32 + 2 * 16 + 80));
  EXPECT_EQ(tiles.weight_flop + tiles.i8_op, floats.weight_flop);
  EXPECT_EQ(floats.i8_op, 0);
  // No matrix has more than 16 rows or 32 columns, so each is one tile: in each layer 5 of attention and 2 of the
  // indexer, 3 in the dense MLP, in each of two experts and in the shared one.
  EXPECT_EQ(tiles.weight_bytes,
            (2 * (5 + 2) + 3 + 2 * 3 + 3) * 544.0 + 2 * (32 + 2 * 16 + 80 + 8) + 4 * (2 * (26 + 8) + 4 + 8));
}

TEST(Work, AddsUp) {
  Work sum{.weight_bytes = 1, .index_bytes = 2, .latent_bytes = 3, .weight_flop = 4, .index_flop = 5, .i8_op = 6};
  sum +=
      {.weight_bytes = 10, .latent_bytes = 30, .weight_flop = 40, .index_flop = 50, .attention_flop = 60, .i8_op = 70};
  EXPECT_EQ(sum.bytes(), 11 + 2 + 33);
  EXPECT_EQ(sum.flop(), 44 + 55 + 60);
  EXPECT_EQ(sum.i8_op, 76);
}

// Taken one by one, the products are what is counted together.
TEST(Work, ProductsAddUpToTheCount) {
  const Sized model(R"({"model_type": "deepseek_v32"})", DType::kF8E4M3);
  const auto operations = [&](const StepShape& shape) {
    double sum = 0;
    for (const Product& p : ListProducts(model.config, model.weights, shape))
      sum += 2 * p.times * static_cast<double>(p.rows * p.cols * p.x_rows);
    return sum;
  };
  for (const StepShape& shape : {StepShape{}, StepShape{.depth = 4096}, StepShape{.logits = false},
                                 StepShape{.depth = 4096, .attention = Attention::kDense}}) {
    const double counted = model.Count(shape).weight_flop;
    EXPECT_NEAR(operations(shape), counted, 1e-9 * counted) << shape.depth;
  }
  // Sixteen rows an expert, and tiles of 32 of absorbed attention.
  const StepShape prompt{.tokens = 512, .depth = 4096};
  EXPECT_NEAR(operations(prompt), model.Count(prompt).weight_flop, 0.02 * model.Count(prompt).weight_flop);
  double absorbing = 0;
  bool expert = false;
  for (const Product& p : ListProducts(model.config, model.weights, prompt)) {
    if (p.split == Product::Split::kHeads) {
      EXPECT_EQ(p.x_rows, 32);
      EXPECT_EQ(p.times, 61 * 128 * 512 / 32);
      ++absorbing;
    }
    expert = expert || (p.rows == 2 * 2048 && p.x_rows == 16 && p.times > 58 * 200);  // gate_proj and up_proj in one
  }
  EXPECT_EQ(absorbing, 2);  // of queries and of results
  EXPECT_TRUE(expert);
}

}  // namespace
}  // namespace minke
