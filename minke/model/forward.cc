#include "minke/model/forward.h"

#include <algorithm>
#include <new>
#include <numeric>

#include "minke/base/available_memory.h"
#include "minke/model/pass.h"

namespace minke {
struct Forward::Impl {
  Impl(const Model& m, const KernelSet& k, ThreadPool& p, const ForwardOptions& o, size_t arena_bytes)
      : model(m),
        kernels(k),
        pool(p),
        options(o),
        layout(m.cache_layout()),
        rope(m.config()),
        softmax_scale(SoftmaxScale(m.config())),
        arena(arena_bytes),
        s(arena, m.config(), options, p.num_threads(), m.has_mtp()) {}

  const Model& model;
  const KernelSet& kernels;
  ThreadPool& pool;
  const ForwardOptions options;
  const CacheLayout layout;
  const Rope rope;
  const float softmax_scale;
  Arena arena;
  Scratch s;
  ForwardStats stats;
  int64_t num_rows = 0;

  Pass Begin(std::span<const BatchItem> items, TapSink* taps);
  void RunLayer(const Pass& pass, int64_t layer);
  void TapSelection(const Pass& pass, int64_t layer);
  TensorView<const float, 2> RunHead(const Pass& pass, const WeightView& head);
};

// Flattens the items into rows.
Pass Forward::Impl::Begin(std::span<const BatchItem> items, TapSink* taps) {
  Pass pass{.c = model.config(),
            .options = options,
            .layout = layout,
            .kernels = kernels,
            .pool = pool,
            .s = s,
            .softmax_scale = softmax_scale,
            .stats = stats,
            .taps = taps,
            .items = items};
  stats = {};
  int64_t row = 0;
  for (const BatchItem& item : items) {
    const int64_t count = static_cast<int64_t>(item.tokens.size());
    MINKE_CHECK(row + count <= options.max_batch_tokens && item.first_pos + count <= options.max_context);
    MINKE_CHECK(static_cast<int64_t>(item.pages.size()) * kPageTokens >= item.first_pos + count);
    for (int64_t i = 0; i < count; ++i, ++row) {
      s.pos[static_cast<size_t>(row)] = item.first_pos + i;
      s.pages[static_cast<size_t>(row)] = item.pages.data();
      rope.CosSin(item.first_pos + i, s.cos[row], s.sin[row]);
      const bool wanted =
          item.logits == BatchItem::Logits::kAll || (item.logits == BatchItem::Logits::kLast && i + 1 == count);
      if (!wanted) continue;
      MINKE_CHECK(pass.num_logit_rows < options.max_logit_rows);
      s.logit_rows[static_cast<size_t>(pass.num_logit_rows++)] = static_cast<int32_t>(row);
    }
  }
  pass.num_rows = num_rows = row;
  return pass;
}

// h += attention(rmsnorm(h)); h += ffn(rmsnorm(h))
void Forward::Impl::RunLayer(const Pass& pass, int64_t layer) {
  const LayerWeights& w = model.weights().layers[static_cast<size_t>(layer)];
  const float eps = pass.c.rms_norm_eps;
  const auto x = s.x.Rows(0, num_rows), x_norm = s.x_norm.Rows(0, num_rows);
  pass.RmsNorm(x, w.input_layernorm, eps, x_norm);
  RunAttention(pass, w, layer);
  pass.AddTo(x, s.block_out.Rows(0, num_rows));
  if (pass.taps && pass.c.has_own_indexer[static_cast<size_t>(layer)] && options.attention == Attention::kDsa)
    TapSelection(pass, layer);
  pass.RmsNorm(x, w.post_attention_layernorm, eps, x_norm);
  RunFfn(pass, w, layer);
  pass.AddTo(x, s.block_out.Rows(0, num_rows));
}

// Shows the sets as the goldens do: ascending, padded with -1.
void Forward::Impl::TapSelection(const Pass& pass, int64_t layer) {
  for (int64_t row = 0; row < num_rows; ++row) {
    const auto set = s.topk[row];
    const int64_t selected = s.num_selected[static_cast<size_t>(row)];
    const size_t count = static_cast<size_t>(selected == kSelectsAll ? s.pos[static_cast<size_t>(row)] + 1 : selected);
    if (selected == kSelectsAll) std::iota(set.begin(), set.begin() + static_cast<int64_t>(count), 0);
    std::ranges::fill(set.subspan(count), -1);
  }
  pass.taps->Ints("topk", layer, s.topk.Rows(0, num_rows));
}

TensorView<const float, 2> Forward::Impl::RunHead(const Pass& pass, const WeightView& head) {
  const int64_t rows = pass.num_logit_rows;
  for (int64_t i = 0; i < rows; ++i)
    std::ranges::copy(s.hidden[s.logit_rows[static_cast<size_t>(i)]], s.logit_in[i].begin());
  pass.Linear(s.logit_in.Rows(0, rows), head, s.logits.Rows(0, rows));
  return s.logits.Rows(0, rows);
}

Forward::Forward(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Forward::~Forward() = default;

int64_t Forward::ScratchBytes(const Model& model, int num_threads, const ForwardOptions& options) {
  Arena measure;
  Scratch(measure, model.config(), options, num_threads, model.has_mtp());
  return static_cast<int64_t>(measure.used_bytes());
}

Result<std::unique_ptr<Forward>> Forward::Create(const Model& model, const KernelSet& kernels, ThreadPool& pool,
                                                 const ForwardOptions& options) {
  const ModelConfig& c = model.config();
  if (options.max_batch_tokens < 1 || options.max_logit_rows < 1 || options.max_context < 1)
    return Fail(Code::kInvalidArgument, "forward: batch tokens, logit rows and context must be at least 1");
  if (options.max_context > c.max_position_embeddings)
    return Fail(Code::kInvalidArgument, "context: {} tokens asked for, but the model has {} positions",
                options.max_context, c.max_position_embeddings);
  if (options.max_batch_tokens > kMostBatchTokens || options.max_logit_rows > kMostBatchTokens)
    return Fail(Code::kInvalidArgument, "batch: {} tokens asked for, one step takes at most {}; use smaller chunks",
                std::max(options.max_batch_tokens, options.max_logit_rows), kMostBatchTokens);
  const int64_t bytes = ScratchBytes(model, pool.num_threads(), options);
  // Asked before taken: the system promises memory that it does not have.
  const Error no_memory{
      Code::kNoMemory,
      fmt::format("activations: {} MiB for {} batch tokens at a context of {} are needed, {} MiB are available; lower "
                  "the context or the batch",
                  bytes >> 20, options.max_batch_tokens, options.max_context, AvailableMemoryBytes() >> 20)};
  if (bytes > AvailableMemoryBytes()) return Fail(no_memory);
  try {
    return std::unique_ptr<Forward>(
        new Forward(std::make_unique<Impl>(model, kernels, pool, options, static_cast<size_t>(bytes))));
  } catch (const std::bad_alloc&) {
    return Fail(no_memory);
  }
}

TensorView<const float, 2> Forward::Run(std::span<const BatchItem> items, TapSink* taps) {
  Impl& m = *impl_;
  const ModelWeights& w = m.model.weights();
  const Pass pass = m.Begin(items, taps);
  const auto x = m.s.x.Rows(0, m.num_rows), hidden = m.s.hidden.Rows(0, m.num_rows);

  int64_t row = 0;
  for (const BatchItem& item : items)
    for (TokenId token : item.tokens) m.kernels.dequantize_row(w.embed_tokens, token, x[row++].data());
  pass.Tap("hidden.embed", 0, x);
  for (int64_t layer = 0; layer < pass.c.num_hidden_layers; ++layer) {
    m.RunLayer(pass, layer);
    pass.Tap("hidden", layer, x);
  }
  pass.RmsNorm(x, w.norm, pass.c.rms_norm_eps, hidden);
  pass.Tap("hidden.normed", 0, hidden);
  return m.RunHead(pass, w.lm_head);
}

// u_i = [rmsnorm(embed(x_{i+1})); rmsnorm(g_i)] W_eh^T; z = layer(u); logits for x_{i+2} = rmsnorm(z) W_head^T
TensorView<const float, 2> Forward::RunMtp(std::span<const BatchItem> items, TensorView<const float, 2> hidden,
                                           TapSink* taps) {
  Impl& m = *impl_;
  MINKE_CHECK(m.model.has_mtp());
  const MtpWeights& w = *m.model.weights().mtp;
  const Pass pass = m.Begin(items, taps);
  MINKE_CHECK(hidden.dim(0) == m.num_rows);
  const int64_t d = pass.c.hidden_size;
  const auto in = m.s.mtp_in.Rows(0, m.num_rows);
  const auto embedding = in.Slice(0, d);
  int64_t row = 0;
  for (const BatchItem& item : items)
    for (TokenId token : item.tokens) m.kernels.dequantize_row(w.embed_tokens, token, embedding[row++].data());
  pass.RmsNorm(embedding, w.enorm, pass.c.rms_norm_eps, embedding);
  pass.RmsNorm(hidden, w.hnorm, pass.c.rms_norm_eps, in.Slice(d, 2 * d));
  pass.Linear(in, w.eh_proj, m.s.x.Rows(0, m.num_rows));
  m.RunLayer(pass, pass.c.num_hidden_layers);
  pass.RmsNorm(m.s.x.Rows(0, m.num_rows), w.shared_head_norm, pass.c.rms_norm_eps, m.s.hidden.Rows(0, m.num_rows));
  return m.RunHead(pass, w.head);
}

TensorView<const float, 2> Forward::hidden() const { return impl_->s.hidden.Rows(0, impl_->num_rows); }
const ForwardStats& Forward::stats() const { return impl_->stats; }

}  // namespace minke
