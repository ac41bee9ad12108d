#include "minke/model/forward.h"

#include <algorithm>
#include <new>
#include <numeric>

#include "minke/base/available_memory.h"
#include "minke/model/pass.h"

namespace minke {
namespace {

int64_t WidestMatrix(const Model& model) {
  struct Widest {
    int64_t size = 0;
    void Matrix(const std::string&, const WeightView&, int64_t rows, int64_t cols) {
      size = std::max(size, rows * cols);
    }
    void Vector(const std::string&, const std::vector<float>&, int64_t) {}
  } widest;
  LayerWeights layer;
  for (int64_t i = 0; i < model.config().num_hidden_layers; ++i) layer.ForEachTensor(model.config(), i, widest);
  return widest.size;
}

}  // namespace

struct Forward::Impl {
  Impl(const Model& m, const KernelSet& k, ThreadPool& p, const ForwardOptions& o, size_t arena_bytes)
      : model(m),
        kernels(k),
        pool(p),
        options(o),
        layout(m.cache_layout(o.cache)),
        rope(m.config()),
        softmax_scale(SoftmaxScale(m.config())),
        widest_matrix(WidestMatrix(m)),
        arena(arena_bytes),
        s(arena, m, options, p.num_threads()) {
    parts.reserve(static_cast<size_t>(p.num_threads()));
    part_scratch.reserve(static_cast<size_t>(p.num_threads()));
    part_stats.resize(static_cast<size_t>(p.num_threads()));
    kept_items.reserve(static_cast<size_t>(o.max_logit_rows));
  }

  const Model& model;
  const KernelSet& kernels;
  ThreadPool& pool;
  const ForwardOptions options;
  const CacheLayout layout;
  const Rope rope;
  const float softmax_scale;
  const int64_t widest_matrix;  // multiply-adds of one row and the largest matrix of a layer
  Arena arena;
  Scratch s;
  std::unique_ptr<ExpertCache> expert_cache;  // null: all weights are in memory
  std::vector<Pass> parts;                    // [threads], of the running pass
  std::vector<Scratch> part_scratch;          // [threads]
  std::vector<ForwardStats> part_stats;       // [threads]
  std::vector<BatchItem> kept_items;          // [max_logit_rows]
  ForwardStats stats;
  int64_t num_rows = 0;

  Pass Begin(std::span<const BatchItem> items, TapSink* taps);
  Pass OnlyLogitRows(const Pass& pass);
  bool SplitsRows(const Pass& pass) const;
  std::span<const Pass> Parts(const Pass& pass);
  template <class F>
  void ForParts(std::span<const Pass> some, F&& f);
  void AddStats(std::span<const Pass> some);
  void BeginLayer(const Pass& pass, int64_t layer) const;
  void FinishLayer(const Pass& pass, int64_t layer) const;
  void TapSelection(const Pass& pass, int64_t layer) const;
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
            .items = items,
            .expert_cache = expert_cache.get()};
  if (expert_cache) expert_cache->BeginPass();
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

// Moves the rows that want logits to the front and drops the others. For the last layer to see them: what it caches of
// a row is needed later, what it makes of one without logits is not.
Pass Forward::Impl::OnlyLogitRows(const Pass& pass) {
  kept_items.clear();
  for (const BatchItem& item : pass.items) {
    if (item.logits == BatchItem::Logits::kNone) continue;
    kept_items.push_back(item);
    if (item.logits == BatchItem::Logits::kLast) kept_items.back().tokens = item.tokens.last(1);
  }
  for (int64_t i = 0; i < pass.num_logit_rows; ++i) {
    const size_t to = static_cast<size_t>(i), from = static_cast<size_t>(s.logit_rows[to]);
    s.logit_rows[to] = static_cast<int32_t>(i);
    if (from == to) continue;
    s.pos[to] = s.pos[from];
    s.pages[to] = s.pages[from];
    for (const auto& view : {s.cos, s.sin, s.x, s.x_norm}) std::ranges::copy(view[from], view[i].begin());
  }
  Pass kept = pass;
  kept.items = kept_items;
  kept.num_rows = num_rows = pass.num_logit_rows;
  return kept;
}

// A small model's matrices are not worth a second thread for one row each, so a step of few rows would be one thread's.
// Instead each thread takes rows of its own through whole layers; they wait for each other once a layer, where a row
// reads what the others have put into the cache. A big model's threads share the reading of each matrix.
bool Forward::Impl::SplitsRows(const Pass& pass) const {
  return widest_matrix <= kGrainMultiplyAdds && pool.num_threads() > 1 && pass.num_rows <= kAttentionTile &&
         options.mla_form == MlaForm::kAbsorbed && !pass.taps && !pass.expert_cache;
}

// The passes that threads work on, one each: the whole one, whose kernels are split, or ranges of its rows. Valid until
// the next call.
std::span<const Pass> Forward::Impl::Parts(const Pass& pass) {
  parts.clear();
  part_scratch.clear();
  if (!SplitsRows(pass)) {
    parts.push_back(pass);
    return parts;
  }
  const int64_t count = std::min<int64_t>(pool.num_threads(), pass.num_rows);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin = pass.num_rows * i / count, end = pass.num_rows * (i + 1) / count;
    part_stats[static_cast<size_t>(i)] = {};
    part_scratch.push_back(s.Part(begin, end, i));
    parts.push_back(pass.Alone(part_scratch.back(), part_stats[static_cast<size_t>(i)]));
    parts.back().num_rows = end - begin;
  }
  return parts;
}

template <class F>
void Forward::Impl::ForParts(std::span<const Pass> some, F&& f) {
  pool.Run(static_cast<int64_t>(some.size()), [&](int64_t i, int) { f(some[static_cast<size_t>(i)]); });
}

void Forward::Impl::AddStats(std::span<const Pass> some) {
  for (const Pass& part : some) {
    if (&part.stats == &stats) continue;
    stats.queries += part.stats.queries;
    stats.visible_keys += part.stats.visible_keys;
    stats.selected_keys += part.stats.selected_keys;
  }
}

// h += attention(rmsnorm(h)); h += ffn(rmsnorm(h)), cut where rows of one sequence meet: in the layer's cache.
void Forward::Impl::BeginLayer(const Pass& pass, int64_t layer) const {
  const LayerWeights& w = model.weights().layers[static_cast<size_t>(layer)];
  const int64_t n = pass.num_rows;
  pass.RmsNorm(pass.s.x.Rows(0, n), w.input_layernorm, pass.c.rms_norm_eps, pass.s.x_norm.Rows(0, n));
  CacheRows(pass, w, layer);
}

void Forward::Impl::FinishLayer(const Pass& pass, int64_t layer) const {
  const LayerWeights& w = model.weights().layers[static_cast<size_t>(layer)];
  const int64_t n = pass.num_rows;
  const auto x = pass.s.x.Rows(0, n), x_norm = pass.s.x_norm.Rows(0, n), block_out = pass.s.block_out.Rows(0, n);
  RunAttention(pass, w, layer);
  pass.AddTo(x, block_out);
  if (pass.taps && pass.c.has_own_indexer[static_cast<size_t>(layer)] && options.attention == Attention::kDsa)
    TapSelection(pass, layer);
  pass.RmsNorm(x, w.post_attention_layernorm, pass.c.rms_norm_eps, x_norm);
  RunFfn(pass, w, layer);
  pass.AddTo(x, block_out);
  if (pass.expert_cache && layer + 1 < pass.c.num_hidden_layers)
    PrefetchExperts(pass, model.weights().layers[static_cast<size_t>(layer) + 1], layer + 1);
}

// Shows the sets as the goldens do: ascending, padded with -1.
void Forward::Impl::TapSelection(const Pass& pass, int64_t layer) const {
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
  Scratch(measure, model, options, num_threads);
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
  if (const int64_t dim = c.index_head_dim;
      c.has_indexer() && options.cache.index_keys != RowFormat::kF32 && (dim % 4 != 0 || dim > kLongestRoundedKey))
    return Fail(Code::kUnsupported,
                "index keys that are not F32 need an index_head_dim that is a multiple of 4 and at most {}, not {}",
                kLongestRoundedKey, dim);
  if (options.mla_form == MlaForm::kExpanded && options.cache.latents != RowFormat::kF32)
    return Fail(Code::kUnsupported,
                "the expanded form of attention reads latents in F32 only: keep the cache in F32, or take the absorbed "
                "form");
  const int64_t bytes = ScratchBytes(model, pool.num_threads(), options);
  // Asked before taken: the system promises memory that it does not have.
  const Error no_memory{
      Code::kNoMemory,
      fmt::format("activations: {} MiB for {} batch tokens at a context of {} are needed, {} MiB are available; lower "
                  "the context or the batch",
                  bytes >> 20, options.max_batch_tokens, options.max_context, AvailableMemoryBytes() >> 20)};
  if (bytes > AvailableMemoryBytes()) return Fail(no_memory);
  try {
    auto impl = std::make_unique<Impl>(model, kernels, pool, options, static_cast<size_t>(bytes));
    if (model.streams_experts()) {
      MINKE_CHECK(options.expert_bytes >= model.least_expert_bytes());
      MINKE_ASSIGN(impl->expert_cache, ExpertCache::Create(*model.source(), model.weights(), options.expert_bytes));
    }
    return std::unique_ptr<Forward>(new Forward(std::move(impl)));
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
  const std::span<const Pass> parts = m.Parts(pass);
  m.ForParts(parts, [&](const Pass& part) { m.BeginLayer(part, 0); });
  for (int64_t layer = 0; layer < pass.c.num_hidden_layers; ++layer) {
    m.ForParts(parts, [&](const Pass& part) {
      m.FinishLayer(part, layer);
      if (layer + 1 < pass.c.num_hidden_layers) m.BeginLayer(part, layer + 1);
    });
    pass.Tap("hidden", layer, x);
  }
  m.AddStats(parts);
  pass.RmsNorm(x, w.norm, pass.c.rms_norm_eps, hidden);
  pass.Tap("hidden.normed", 0, hidden);
  return m.RunHead(pass, w.lm_head);
}

// u_i = [rmsnorm(embed(x_{i+1})); rmsnorm(g_i)] W_eh^T; z = layer(u); logits for x_{i+2} = rmsnorm(z) W_head^T
TensorView<const float, 2> Forward::RunMtp(std::span<const BatchItem> items, TensorView<const float, 2> hidden,
                                           std::span<const int32_t> rows, TapSink* taps) {
  Impl& m = *impl_;
  MINKE_CHECK(m.model.has_mtp());
  const MtpWeights& w = *m.model.weights().mtp;
  const Pass pass = m.Begin(items, taps);
  MINKE_CHECK(static_cast<int64_t>(rows.size()) == m.num_rows);
  const int64_t d = pass.c.hidden_size, layer = pass.c.num_hidden_layers;
  const float eps = pass.c.rms_norm_eps;
  const auto in = m.s.mtp_in.Rows(0, m.num_rows);
  int64_t row = 0;
  for (const BatchItem& item : items)
    for (TokenId token : item.tokens) {
      m.kernels.dequantize_row(w.embed_tokens, token, in[row].data());
      std::ranges::copy(hidden[rows[static_cast<size_t>(row)]], in[row].begin() + d);
      ++row;
    }
  m.ForParts(m.Parts(pass), [&](const Pass& part) {
    const auto part_in = part.s.mtp_in.Rows(0, part.num_rows);
    const auto embedding = part_in.Slice(0, d), state = part_in.Slice(d, 2 * d);
    part.RmsNorm(embedding, w.enorm, eps, embedding);
    part.RmsNorm(state, w.hnorm, eps, state);
    part.Linear(part_in, w.eh_proj, part.s.x.Rows(0, part.num_rows));
    m.BeginLayer(part, layer);
  });
  const Pass kept = m.OnlyLogitRows(pass);
  if (kept.num_rows > 0) {
    const std::span<const Pass> parts = m.Parts(kept);
    m.ForParts(parts, [&](const Pass& part) { m.FinishLayer(part, layer); });
    m.AddStats(parts);
  }
  kept.RmsNorm(m.s.x.Rows(0, m.num_rows), w.shared_head_norm, eps, m.s.hidden.Rows(0, m.num_rows));
  return m.RunHead(kept, w.head);
}

TensorView<const float, 2> Forward::hidden() const { return impl_->s.hidden.Rows(0, impl_->num_rows); }
const ForwardStats& Forward::stats() const { return impl_->stats; }
ExpertStats Forward::expert_stats() const { return impl_->expert_cache ? impl_->expert_cache->stats() : ExpertStats{}; }

}  // namespace minke
