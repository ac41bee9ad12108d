#include "minke/model/learner.h"

#include <algorithm>
#include <new>

#include "minke/base/available_memory.h"
#include "minke/model/backward.h"
#include "minke/model/weights.h"

namespace minke {
namespace {

// What one layer's forward pass leaves for its way back.
struct KeptLayer {
  KeptLayer(Arena& arena, const Scratch& shared, const ModelConfig& c, const LearnerOptions& o);

  Scratch s;                                      // the shared scratch, but for what is kept
  TensorView<float, 2> x_in, x_mid;               // [tokens, D]: the residual stream before attention, before the FFN
  TensorView<float, 2> attention_norm, ffn_norm;  // [tokens, D]
};

KeptLayer::KeptLayer(Arena& arena, const Scratch& shared, const ModelConfig& c, const LearnerOptions& o) : s(shared) {
  const int64_t n = o.max_tokens, d = c.hidden_size, heads = c.num_attention_heads, k = c.num_experts_per_tok;
  for (auto* view : {&x_in, &x_mid, &attention_norm, &ffn_norm}) *view = arena.TakeTensor<float>({n, d});
  s.keeps = true;
  s.q_a = arena.TakeTensor<float>({n, c.q_lora_rank});
  s.q_a_raw = arena.TakeTensor<float>({n, c.q_lora_rank});
  s.q = arena.TakeTensor<float>({n, heads * c.qk_head_dim()});
  s.kv_a_raw = arena.TakeTensor<float>({n, c.latent_dim()});
  s.q_latent = arena.TakeTensor<float>({n, heads, c.latent_dim()});
  s.o_latent = arena.TakeTensor<float>({n, heads, c.kv_lora_rank});
  s.attention_out = arena.TakeTensor<float>({n, heads * c.v_head_dim});
  s.num_selected = arena.Take<int32_t>(n);
  if (s.topk.dim(0) > 0) s.topk = arena.TakeTensor<int32_t>({n, c.index_topk});
  const bool moe = c.n_routed_experts > 0;
  const int64_t mlp_rows = moe ? n + n * k : n, widest = s.gate.dim(1);
  s.gate = arena.TakeTensor<float>({mlp_rows, widest});
  s.up = arena.TakeTensor<float>({mlp_rows, widest});
  s.router_scores = arena.TakeTensor<float>({n, c.n_routed_experts});
  s.experts = arena.TakeTensor<int32_t>({n, k});
  s.expert_weights = arena.TakeTensor<float>({n, k});
  s.expert_begin = arena.TakeTensor<int32_t>({1, c.n_routed_experts + 1});
  s.expert_rows = arena.Take<int32_t>(n * k);
  s.expert_slots = arena.Take<int32_t>(n * k);
}

// All memory of a learner.
struct Buffers {
  Buffers(Arena& arena, const Parameters& parameters, const LearnerOptions& o, const ForwardOptions& forward,
          int num_threads);

  Scratch s;
  std::vector<KeptLayer> layers;
  BackwardScratch b;
  TensorView<float, 2> x_out, mtp_out;  // [tokens, D]: behind the last layer
  TensorView<float, 2> mtp_hidden;      // [tokens, D]: after shared_head.norm
  TensorView<float, 2> mtp_logits;      // [tokens, vocab]
  std::span<int32_t> mtp_rows;          // [tokens]: the main model's row of each MTP row
  TensorView<float, 2> pages;           // [pages, page_floats]
  std::span<float> gradients;
};

int64_t NumPages(const LearnerOptions& o) { return o.max_tokens / kPageTokens + o.max_sequences; }

Buffers::Buffers(Arena& arena, const Parameters& parameters, const LearnerOptions& o, const ForwardOptions& forward,
                 int num_threads)
    : s(arena, *parameters.model(), forward, num_threads), b(arena, parameters.model()->config(), o, num_threads) {
  const Model& model = *parameters.model();
  const ModelConfig& c = model.config();
  const int64_t n = o.max_tokens, d = c.hidden_size;
  s.activated = arena.TakeTensor<float>({n, s.gate.dim(1)});
  for (int64_t i = 0; i < c.num_hidden_layers + (o.mtp ? 1 : 0); ++i) layers.emplace_back(arena, s, c, o);
  x_out = arena.TakeTensor<float>({n, d});
  if (o.mtp) {
    mtp_out = arena.TakeTensor<float>({n, d});
    mtp_hidden = arena.TakeTensor<float>({n, d});
    mtp_logits = arena.TakeTensor<float>({n, c.vocab_size});
    mtp_rows = arena.Take<int32_t>(n);
    Scratch& mtp = layers.back().s;  // other rows than the main model's
    mtp.pos = arena.Take<int64_t>(n);
    mtp.pages = arena.Take<float* const*>(n);
    mtp.cos = arena.TakeTensor<float>({n, c.qk_rope_head_dim / 2});
    mtp.sin = arena.TakeTensor<float>({n, c.qk_rope_head_dim / 2});
  }
  pages = arena.TakeTensor<float>({NumPages(o), model.cache_layout().page_floats()});
  gradients = arena.Take<float>(static_cast<int64_t>(parameters.values().size()));
}

}  // namespace

struct Learner::Impl {
  Impl(Parameters& p, const KernelSet& k, ThreadPool& t, const LearnerOptions& o, const ForwardOptions& f, size_t bytes)
      : parameters(p),
        model(*p.model()),
        c(model.config()),
        w(model.weights()),
        kernels(k),
        pool(t),
        options(o),
        forward_options(f),
        layout(model.cache_layout()),
        rope(c),
        softmax_scale(SoftmaxScale(c)),
        arena(bytes),
        m(arena, p, o, f, t.num_threads()),
        loads(static_cast<size_t>(std::ssize(m.layers) * c.n_routed_experts)) {
    for (int64_t i = 0; i < m.pages.dim(0); ++i) page_table.push_back(m.pages[i].data());
    std::ranges::fill(m.gradients, 0.0f);
  }

  Parameters& parameters;
  const Model& model;
  const ModelConfig& c;
  const ModelWeights& w;
  const KernelSet& kernels;
  ThreadPool& pool;
  const LearnerOptions options;
  const ForwardOptions forward_options;
  const CacheLayout layout;
  const Rope rope;
  const float softmax_scale;
  Arena arena;
  Buffers m;
  std::vector<float*> page_table;
  std::vector<int64_t> loads;  // [layers, E]
  ForwardStats stats;
  std::vector<TokenId> tokens;   // of all rows
  std::vector<int64_t> lengths;  // of the items
  int64_t num_rows = 0, num_mtp_rows = 0;

  Pass PassOf(Scratch& s, int64_t rows) {
    return {.c = c,
            .options = forward_options,
            .layout = layout,
            .kernels = kernels,
            .pool = pool,
            .s = s,
            .softmax_scale = softmax_scale,
            .stats = stats,
            .taps = nullptr,
            .items = {},  // the expanded form's
            .num_rows = rows};
  }
  void Begin(std::span<const LearnerItem> items);
  void BeginRow(Scratch& s, int64_t row, int64_t pos, float* const* pages);
  void TakeReplay(std::span<const LearnerItem> items, int64_t layer, Pass& pass);
  void RunLayer(int64_t layer, Pass& pass, TensorView<float, 2> out);
  void RunMtp();
  void LayerBackward(int64_t layer, const Pass& pass, const BackwardOptions& o, BackwardLosses& losses);
  void MtpBackward(const BackwardOptions& o, BackwardLosses& losses);
  BackwardPass Back(const Pass& pass, const BackwardOptions& o, BackwardLosses& losses) {
    return {pass, m.b, parameters, m.gradients.data(), o, losses};
  }
  void AddEmbedding(const WeightView& embed, TokenId token, std::span<const float> d) {
    kernels.axpy(1.0f, d.data(), c.hidden_size, m.gradients.data() + parameters.OffsetOf(embed.row(token)));
  }
};

void Learner::Impl::BeginRow(Scratch& s, int64_t row, int64_t pos, float* const* pages) {
  s.pos[static_cast<size_t>(row)] = pos;
  s.pages[static_cast<size_t>(row)] = pages;
  rope.CosSin(pos, s.cos[row], s.sin[row]);
}

void Learner::Impl::Begin(std::span<const LearnerItem> items) {
  MINKE_CHECK(std::ssize(items) <= options.max_sequences);
  num_rows = num_mtp_rows = 0;
  tokens.clear();
  lengths.clear();
  float* const* pages = page_table.data();
  for (const LearnerItem& item : items) {
    const int64_t count = std::ssize(item.tokens);
    MINKE_CHECK(num_rows + count <= options.max_tokens && count <= options.max_context);
    for (int64_t i = 0; i < count; ++i) {
      if (options.mtp && i + 1 < count) {
        m.mtp_rows[static_cast<size_t>(num_mtp_rows)] = static_cast<int32_t>(num_rows);
        BeginRow(m.layers.back().s, num_mtp_rows++, i, pages);
      }
      BeginRow(m.s, num_rows++, i, pages);
      tokens.push_back(item.tokens[static_cast<size_t>(i)]);
    }
    pages += (count + kPageTokens - 1) / kPageTokens;
    lengths.push_back(count);
  }
}

void Learner::Impl::TakeReplay(std::span<const LearnerItem> items, int64_t layer, Pass& pass) {
  Scratch& s = pass.s;
  int64_t row = 0;
  for (const LearnerItem& item : items) {
    const int64_t count = std::ssize(item.tokens);
    const Replay none, &replay = item.replay ? *item.replay : none;
    const auto copy = [&](const std::vector<int32_t>& from, int64_t width, int32_t* to) {
      if (!from.empty()) std::copy_n(from.begin() + layer * count * width, count * width, to);
    };
    pass.given_experts = !replay.experts.empty();
    pass.given_topk = !replay.topk.empty();
    copy(replay.experts, c.num_experts_per_tok, s.experts[row].data());
    if (pass.selects()) copy(replay.topk, c.index_topk, s.topk[row].data());
    copy(replay.num_selected, 1, s.num_selected.data() + row);
    row += count;
  }
}

// Inference's steps, with the residual stream kept between them.
void Learner::Impl::RunLayer(int64_t layer, Pass& pass, TensorView<float, 2> out) {
  KeptLayer& kept = m.layers[static_cast<size_t>(layer)];
  const LayerWeights& weights = w.layers[static_cast<size_t>(layer)];
  const int64_t n = pass.num_rows, floats = n * c.hidden_size;
  const auto x_in = kept.x_in.Rows(0, n), x_mid = kept.x_mid.Rows(0, n);
  const auto block_out = pass.s.block_out.Rows(0, n);

  pass.s.x_norm = kept.attention_norm;
  pass.RmsNorm(x_in, weights.input_layernorm, c.rms_norm_eps, kept.attention_norm.Rows(0, n));
  CacheRows(pass, weights, layer);
  if (pass.selects() && !pass.given_topk && !c.has_own_indexer[static_cast<size_t>(layer)]) {
    const Scratch& before = m.layers[static_cast<size_t>(layer - 1)].s;  // whose sets this layer reuses
    std::copy_n(before.topk.data(), n * c.index_topk, pass.s.topk.data());
    std::copy_n(before.num_selected.begin(), n, pass.s.num_selected.begin());
  }
  RunAttention(pass, weights, layer);
  std::copy_n(x_in.data(), floats, x_mid.data());
  pass.AddTo(x_mid, block_out);

  pass.s.x_norm = kept.ffn_norm;
  pass.RmsNorm(x_mid, weights.post_attention_layernorm, c.rms_norm_eps, kept.ffn_norm.Rows(0, n));
  RunFfn(pass, weights, layer);
  std::copy_n(x_mid.data(), floats, out.data());
  pass.AddTo(out, block_out);
  if (!c.is_moe_layer[static_cast<size_t>(layer)]) return;
  for (int64_t e = 0; e < c.n_routed_experts; ++e) {
    const auto at = static_cast<size_t>(e);
    loads[static_cast<size_t>(layer * c.n_routed_experts) + at] +=
        kept.s.expert_begin[0][at + 1] - kept.s.expert_begin[0][at];
  }
}

TensorView<float, 2> Learner::Forward(std::span<const LearnerItem> items, bool head) {
  Impl& i = *impl_;
  i.Begin(items);
  const int64_t n = i.num_rows, layers = i.c.num_hidden_layers;
  auto out = [&](int64_t layer) { return layer < layers ? i.m.layers[static_cast<size_t>(layer)].x_in : i.m.x_out; };
  for (int64_t row = 0; row < n; ++row)
    i.kernels.dequantize_row(i.w.embed_tokens, i.tokens[static_cast<size_t>(row)], out(0)[row].data());
  for (int64_t layer = 0; layer < layers; ++layer) {
    Pass pass = i.PassOf(i.m.layers[static_cast<size_t>(layer)].s, n);
    i.TakeReplay(items, layer, pass);
    i.RunLayer(layer, pass, out(layer + 1).Rows(0, n));
  }
  const Pass pass = i.PassOf(i.m.s, n);
  const auto hidden = i.m.s.hidden.Rows(0, n), logits = i.m.s.logits.Rows(0, head ? n : 0);
  pass.RmsNorm(i.m.x_out.Rows(0, n), i.w.norm, i.c.rms_norm_eps, hidden);
  if (head) pass.Linear(hidden, i.w.lm_head, logits);
  if (i.options.mtp) i.RunMtp();
  return logits;
}

// As Forward::RunMtp.
void Learner::Impl::RunMtp() {
  const int64_t n = num_mtp_rows, d = c.hidden_size, layer = c.num_hidden_layers;
  KeptLayer& kept = m.layers.back();
  Pass pass = PassOf(kept.s, n);
  const auto in = m.s.mtp_in.Rows(0, n), out = m.mtp_out.Rows(0, n), hidden = m.mtp_hidden.Rows(0, n);
  for (int64_t j = 0; j < n; ++j) {
    const int32_t row = m.mtp_rows[static_cast<size_t>(j)];
    kernels.dequantize_row(w.mtp->embed_tokens, tokens[static_cast<size_t>(row) + 1], in[j].data());
    std::ranges::copy(m.s.hidden[row], in[j].begin() + d);
  }
  const auto embedding = in.Slice(0, d), state = in.Slice(d, 2 * d);
  pass.RmsNorm(embedding, w.mtp->enorm, c.rms_norm_eps, embedding);
  pass.RmsNorm(state, w.mtp->hnorm, c.rms_norm_eps, state);
  pass.Linear(in, w.mtp->eh_proj, kept.x_in.Rows(0, n));
  RunLayer(layer, pass, out);
  pass.RmsNorm(out, w.mtp->shared_head_norm, c.rms_norm_eps, hidden);
  pass.Linear(hidden, w.mtp->head, m.mtp_logits.Rows(0, n));
}

// From b.d_x, the gradient behind the layer, to the one before it, in place.
void Learner::Impl::LayerBackward(int64_t layer, const Pass& pass, const BackwardOptions& o, BackwardLosses& losses) {
  const KeptLayer& kept = m.layers[static_cast<size_t>(layer)];
  const LayerWeights& weights = w.layers[static_cast<size_t>(layer)];
  const BackwardPass back = Back(pass, o, losses);
  const int64_t n = pass.num_rows;
  const auto d_x = m.b.d_x.Rows(0, n), d_norm = m.b.d_norm.Rows(0, n);
  if (o.model) {
    Zero(d_norm);
    FfnBackward(back, weights, layer, kept.ffn_norm.Rows(0, n), d_x, d_norm);
    back.RmsNorm(kept.x_mid.Rows(0, n), weights.post_attention_layernorm, c.rms_norm_eps, d_norm, d_x);
    Zero(d_norm);
  }
  AttentionBackward(back, weights, layer, kept.attention_norm.Rows(0, n), d_x, d_norm);
  if (o.model) back.RmsNorm(kept.x_in.Rows(0, n), weights.input_layernorm, c.rms_norm_eps, d_norm, d_x);
}

// Leaves in b.d_hidden what reaches the main model's hidden states.
void Learner::Impl::MtpBackward(const BackwardOptions& o, BackwardLosses& losses) {
  const int64_t n = num_mtp_rows, d = c.hidden_size;
  const Pass pass = PassOf(m.layers.back().s, n);
  const BackwardPass back = Back(pass, o, losses);
  const auto d_x = m.b.d_x.Rows(0, n), d_norm = m.b.d_norm.Rows(0, n);
  if (o.model) {
    Zero(d_norm);
    Zero(d_x);
    back.Linear(m.mtp_hidden.Rows(0, n), w.mtp->head, m.mtp_logits.Rows(0, n), d_norm);
    back.RmsNorm(m.mtp_out.Rows(0, n), w.mtp->shared_head_norm, c.rms_norm_eps, d_norm, d_x);
  }
  LayerBackward(c.num_hidden_layers, pass, o, losses);
  if (!o.model) return;
  const auto d_in = m.b.d_mtp_in.Rows(0, n), raw = m.b.expert_x.Rows(0, n), d_raw = m.b.expert_dx.Rows(0, n);
  Zero(d_in);
  back.Linear(m.s.mtp_in.Rows(0, n), w.mtp->eh_proj, d_x, d_in);
  const auto next_token = [&](int64_t j) {
    return tokens[static_cast<size_t>(m.mtp_rows[static_cast<size_t>(j)]) + 1];
  };
  for (int64_t j = 0; j < n; ++j) kernels.dequantize_row(w.mtp->embed_tokens, next_token(j), raw[j].data());
  Zero(d_raw);
  back.RmsNorm(raw, w.mtp->enorm, c.rms_norm_eps, d_in.Slice(0, d), d_raw);
  for (int64_t j = 0; j < n; ++j) AddEmbedding(w.mtp->embed_tokens, next_token(j), d_raw[j]);
  for (int64_t j = 0; j < n; ++j) std::ranges::copy(m.s.hidden[m.mtp_rows[static_cast<size_t>(j)]], raw[j].begin());
  Zero(d_raw);
  back.RmsNorm(raw, w.mtp->hnorm, c.rms_norm_eps, d_in.Slice(d, 2 * d), d_raw);
  for (int64_t j = 0; j < n; ++j)
    kernels.axpy(1.0f, d_raw[j].data(), d, m.b.d_hidden[m.mtp_rows[static_cast<size_t>(j)]].data());
}

BackwardLosses Learner::Backward(const BackwardOptions& o) {
  Impl& i = *impl_;
  BackwardLosses losses;
  const int64_t n = i.num_rows;
  const auto d_x = i.m.b.d_x.Rows(0, n), d_hidden = i.m.b.d_hidden.Rows(0, n);
  Zero(d_hidden);
  if (i.options.mtp && i.num_mtp_rows > 0) i.MtpBackward(o, losses);
  if (o.model) {
    const Pass pass = i.PassOf(i.m.s, n);
    const BackwardPass back = i.Back(pass, o, losses);
    back.Linear(i.m.s.hidden.Rows(0, n), i.w.lm_head, i.m.s.logits.Rows(0, n), d_hidden);
    Zero(d_x);
    back.RmsNorm(i.m.x_out.Rows(0, n), i.w.norm, i.c.rms_norm_eps, d_hidden, d_x);
  }
  for (int64_t layer = i.c.num_hidden_layers - 1; layer >= 0; --layer)
    i.LayerBackward(layer, i.PassOf(i.m.layers[static_cast<size_t>(layer)].s, n), o, losses);
  if (o.model)
    for (int64_t row = 0; row < n; ++row)
      i.AddEmbedding(i.w.embed_tokens, i.tokens[static_cast<size_t>(row)], d_x[row]);
  return losses;
}

Learner::Learner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Learner::~Learner() = default;

Result<std::unique_ptr<Learner>> Learner::Create(Parameters& parameters, const KernelSet& kernels, ThreadPool& pool,
                                                 const LearnerOptions& options) {
  const ModelConfig& c = parameters.model()->config();
  LearnerOptions o = options;
  if (o.max_context == 0) o.max_context = std::min(o.max_tokens, c.max_position_embeddings);
  if (o.max_tokens < 1 || o.max_tokens > kMostBatchTokens || o.max_sequences < 1)
    return Fail(Code::kInvalidArgument, "a training batch has 1 to {} tokens and at least one sequence, not {} and {}",
                kMostBatchTokens, o.max_tokens, o.max_sequences);
  if (o.max_context > c.max_position_embeddings)
    return Fail(Code::kInvalidArgument, "context: {} tokens asked for, but the model has {} positions", o.max_context,
                c.max_position_embeddings);
  if (o.mtp && !parameters.model()->has_mtp())
    return Fail(Code::kInvalidArgument, "the model has no MTP layer to train");
  const ForwardOptions forward{.max_batch_tokens = o.max_tokens,
                               .max_logit_rows = o.max_tokens,
                               .max_context = o.max_context,
                               .attention = o.attention};
  Arena measure;
  Buffers(measure, parameters, o, forward, pool.num_threads());
  const auto bytes = static_cast<int64_t>(measure.used_bytes());
  const Error no_memory{Code::kNoMemory,
                        fmt::format("training: {} MiB for a batch of {} tokens are needed, {} MiB are available; lower "
                                    "the tokens in a batch",
                                    bytes >> 20, o.max_tokens, AvailableMemoryBytes() >> 20)};
  if (bytes > AvailableMemoryBytes()) return Fail(no_memory);
  try {
    return std::unique_ptr<Learner>(new Learner(std::make_unique<Impl>(parameters, kernels, pool, o, forward, bytes)));
  } catch (const std::bad_alloc&) {
    return Fail(no_memory);
  }
}

std::vector<Replay> Learner::Choices() const {
  const Impl& i = *impl_;
  const int64_t layers = i.c.num_hidden_layers;
  const bool selects = i.c.has_indexer() && i.options.attention == Attention::kDsa;
  std::vector<Replay> choices;
  int64_t first = 0;
  for (const int64_t count : i.lengths) {
    Replay& replay = choices.emplace_back();
    const auto append = [&](std::vector<int32_t>& to, const int32_t* from, int64_t width) {
      to.insert(to.end(), from, from + count * width);
    };
    for (int64_t layer = 0; layer < layers; ++layer) {
      const Scratch& s = i.m.layers[static_cast<size_t>(layer)].s;
      append(replay.experts, s.experts.data() + first * i.c.num_experts_per_tok, i.c.num_experts_per_tok);
      if (!selects) continue;
      append(replay.topk, s.topk.data() + first * i.c.index_topk, i.c.index_topk);
      append(replay.num_selected, s.num_selected.data() + first, 1);
    }
    first += count;
  }
  return choices;
}

TensorView<float, 2> Learner::MtpLogits() { return impl_->m.mtp_logits.Rows(0, impl_->num_mtp_rows); }

std::span<float> Learner::gradients() { return impl_->m.gradients; }
void Learner::ClearGradients() { std::ranges::fill(impl_->m.gradients, 0.0f); }

TensorView<const int64_t, 2> Learner::expert_loads() const {
  return {impl_->loads.data(), {std::ssize(impl_->m.layers), impl_->c.n_routed_experts}};
}
void Learner::ClearExpertLoads() { std::ranges::fill(impl_->loads, 0); }

}  // namespace minke
