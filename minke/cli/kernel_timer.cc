#include "minke/cli/kernel_timer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "minke/base/available_memory.h"
#include "minke/base/rng.h"
#include "minke/cli/terminal.h"
#include "minke/engine/random_rows.h"
#include "minke/kernels/pack_row.h"
#include "minke/model/split.h"

namespace minke {
namespace {

constexpr double kMeasureSeconds = 0.03, kBatchSeconds = 1e-4;
constexpr double kMostMultiplyAdds = 1 << 30;        // of one call: longer work is measured in part
constexpr int64_t kWorkingSet = int64_t{192} << 20;  // bytes: several times the last cache of most processors

double SecondsOf(int64_t calls, auto&& call) {
  const double begin = MonotonicSeconds();
  for (int64_t i = 0; i < calls; ++i) call();
  return MonotonicSeconds() - begin;
}

// In a step a kernel waits for what the one before computed; without that, a processor runs several small ones at once.
// All that the next kernel computes depends on *in.
void WaitFor(const float* out, float* in) { *in += 0 * *out; }

// Of one call: the median over batches that are long against the clock.
double MedianSeconds(auto&& call) {
  call();
  int64_t calls = 1;
  double seconds = SecondsOf(calls, call), all = 0;
  for (; seconds < kBatchSeconds; seconds = SecondsOf(calls, call)) calls *= 2;
  std::vector<double> of_one;
  while (of_one.size() < 3 || all < kMeasureSeconds) {
    all += seconds = SecondsOf(calls, call);
    of_one.push_back(seconds / static_cast<double>(calls));
  }
  std::ranges::nth_element(of_one, of_one.begin() + static_cast<int64_t>(of_one.size() / 2));
  return of_one[of_one.size() / 2];
}

// Of `rows` rows of a product's matrix, to the next cache line.
int64_t BytesOf(const Product& p, int64_t rows) {
  const WeightView matrix = {.dtype = p.dtype, .rows = rows, .cols = p.cols};
  return (matrix.data_bytes() + 63) / 64 * 64;
}

}  // namespace

KernelTimer::KernelTimer(const Model& model, const KernelSet& kernels, ThreadPool& pool, const CacheFormats& cache)
    : c_(model.config()), kernels_(kernels), pool_(pool), layout_(model.cache_layout(cache)) {}

Result<std::unique_ptr<KernelTimer>> KernelTimer::Create(const Model& model, const KernelSet& kernels, ThreadPool& pool,
                                                         const CacheFormats& cache, int64_t most_tokens,
                                                         int64_t most_positions) {
  auto timer = std::unique_ptr<KernelTimer>(new KernelTimer(model, kernels, pool, cache));
  const ModelConfig& c = model.config();
  const int64_t heads = c.num_attention_heads, dr = c.qk_rope_head_dim;
  int64_t widest_matrix = 0, scales = 0, weight_bytes = 1 << 20;
  int64_t widest_row = std::max({c.hidden_size, c.n_routed_experts, heads * dr, c.kv_lora_rank + c.index_head_dim,
                                 c.index_n_heads * std::max(c.index_head_dim, dr)});
  for (const Product& p : ListProducts(model, {.depth = most_positions})) {
    const bool of_heads = p.split == Product::Split::kHeads;
    if (!p.head) widest_matrix = std::max(widest_matrix, p.rows * p.cols * (of_heads ? heads : 1));
    scales = std::max({scales, (p.rows + 127) / 128 * ((p.cols + 127) / 128), RowTiles(p.rows) * kRowScalesOfTile});
    widest_row = std::max(widest_row, p.cols);
    // What is timed at least: all rows of a head's matrix, sixteen of another.
    weight_bytes = std::max(weight_bytes, BytesOf(p, of_heads ? p.rows : std::min(p.rows, kTileRows)));
  }
  timer->small_ = widest_matrix <= kGrainMultiplyAdds;

  const int64_t budget = std::min(kWorkingSet, AvailableMemoryBytes() / 8);
  CacheLayout& layout = timer->layout_;
  const int64_t positions = std::max(most_positions, c.index_topk) + 1, pages = PagePool::PagesFor(positions);
  const int64_t layer_bytes =
      pages * kPageTokens * (layout.latent_width() + layout.index_width()) * static_cast<int64_t>(sizeof(float));
  layout.num_layers = std::clamp<int64_t>(budget / layer_bytes, 1, layout.num_layers);
  MINKE_ASSIGN(timer->pages_, PagePool::Create(layout, pages));
  timer->table_ = std::make_unique<PageTable>(*timer->pages_, pages);
  MINKE_TRY(timer->table_->Grow(pages));
  FillWithRandomRows(*timer->table_, layout, 0, positions, /*seed=*/1, kernels, pool);

  // A byte that is a usual number in every format, scales included. What is computed does not change the time.
  const auto used = static_cast<int64_t>(CountWork(model, {}).weight_bytes);
  timer->weights_.assign(static_cast<size_t>(std::max(weight_bytes, std::min(used, budget))), 0x3C);
  timer->scales_.assign(static_cast<size_t>(scales), 1e-3f);
  timer->x_.assign(static_cast<size_t>(most_tokens * widest_row), 0.5f);
  if (c.has_tiles) timer->codes_.resize(static_cast<size_t>(most_tokens * ColTiles(widest_row)));
  return timer;
}

ThreadPool& KernelTimer::PoolFor(int64_t rows, bool head) {
  return small_ && !head && rows == 1 ? ThreadPool::Alone() : pool_;
}

// A matrix of the product's kind, of `rows` rows, behind the last one.
WeightView KernelTimer::NextWeights(const Product& product, int64_t rows) {
  const auto bytes = static_cast<size_t>(BytesOf(product, rows));
  if (next_weight_ + bytes > weights_.size()) next_weight_ = 0;
  WeightView view = {.dtype = product.dtype,
                     .data = weights_.data() + next_weight_,
                     .rows = rows,
                     .cols = product.cols,
                     .scales = scales_.data()};
  if (product.dtype == DType::kF8E4M3) view.block_rows = view.block_cols = 128;
  next_weight_ += bytes;
  return view;
}

PagedRows KernelTimer::NextRows(bool index) {
  next_layer_ = (next_layer_ + 1) % layout_.num_layers;
  if (index)
    return {table_->pages().data(), layout_.index_offset(next_layer_), layout_.index_width(), kPageTokens,
            layout_.formats.index_keys};
  return {table_->pages().data(), layout_.latent_offset(next_layer_), layout_.latent_width(), kPageTokens,
          layout_.formats.latents};
}

double KernelTimer::OfProduct(const Product& product) {
  Product one = product;
  one.times = 1;
  const auto known = std::ranges::find(products_, one, &std::pair<Product, double>::first);
  if (known != products_.end()) return known->second * product.times;
  products_.emplace_back(one, MeasureProduct(one));
  return products_.back().second * product.times;
}

double KernelTimer::MeasureProduct(const Product& p) {
  return p.split == Product::Split::kHeads ? MeasureHeads(p) : MeasureMatrix(p);
}

// Pass::Linear. A part of the rows of W where all of them would take long: each costs the same.
double KernelTimer::MeasureMatrix(const Product& p) {
  ThreadPool& pool = PoolFor(p.x_rows, p.head);
  const bool tiled = IsTiled(p.dtype);
  const int64_t blocks = ColTiles(p.cols);
  const double most =
      std::min(kMostMultiplyAdds / static_cast<double>(p.cols * p.x_rows),
               static_cast<double>(weights_.size()) / static_cast<double>(BytesOf(p, kTileRows)) * kTileRows);
  const int64_t rows = std::min(p.rows, std::max<int64_t>(static_cast<int64_t>(most) / kTileRows, 1) * kTileRows);
  y_.resize(std::max(y_.size(), static_cast<size_t>(p.x_rows * rows)));
  const double seconds = MedianSeconds([&] {
    const WeightView w = NextWeights(p, rows);
    if (tiled)
      pool.ForRanges(p.x_rows, std::max<int64_t>(1, kGrainFloats / p.cols), [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r)
          kernels_.quantize_x(x_.data() + r * p.cols, p.cols, codes_.data() + r * blocks);
      });
    pool.ForRanges(RowTiles(rows), std::max<int64_t>(1, kGrainMultiplyAdds / (p.x_rows * p.cols * kTileRows)),
                   [&](int64_t first, int64_t last, int) {
                     const int64_t begin = first * kTileRows, end = std::min(last * kTileRows, rows);
                     float* y = y_.data() + begin;
                     if (tiled) {
                       kernels_.matmul_tiles(codes_.data(), blocks, p.x_rows, w, begin, end, y, rows);
                     } else {
                       kernels_.matmul(x_.data(), p.cols, p.x_rows, w, begin, end, y, rows);
                     }
                   });
    WaitFor(y_.data(), x_.data());
  });
  return seconds * static_cast<double>(p.rows) / static_cast<double>(rows);
}

// The products of all heads of a tile of rows, a head a task, as absorbed attention has them. Of one head's.
double KernelTimer::MeasureHeads(const Product& p) {
  ThreadPool& pool = PoolFor(p.x_rows, /*head=*/false);
  const int64_t heads = c_.num_attention_heads, blocks = ColTiles(p.cols), out = p.transposed ? p.cols : p.rows;
  y_.resize(std::max(y_.size(), static_cast<size_t>(heads * p.x_rows * out)));
  codes_.resize(std::max(codes_.size(), static_cast<size_t>(pool.num_threads() * p.x_rows * blocks)));
  std::vector<WeightView> weights(static_cast<size_t>(heads));
  const double seconds = MedianSeconds([&] {
    for (WeightView& w : weights) w = NextWeights(p, p.rows);
    pool.Run(heads, [&](int64_t h, int worker) {
      const WeightView& w = weights[static_cast<size_t>(h)];
      float* y = y_.data() + h * p.x_rows * out;
      if (p.transposed) return kernels_.matmul_transposed(x_.data(), p.rows, p.x_rows, w, 0, p.cols, y, out);
      if (!IsTiled(p.dtype)) return kernels_.matmul(x_.data(), p.cols, p.x_rows, w, 0, p.rows, y, out);
      TileX* codes = codes_.data() + worker * p.x_rows * blocks;
      for (int64_t r = 0; r < p.x_rows; ++r) kernels_.quantize_x(x_.data() + r * p.cols, p.cols, codes + r * blocks);
      kernels_.matmul_tiles(codes, blocks, p.x_rows, w, 0, p.rows, y, out);
    });
    WaitFor(y_.data(), x_.data());
  });
  return seconds / static_cast<double>(heads);
}

double KernelTimer::OfSelection(int64_t rows, double scored) {
  const int64_t keys = std::llround(scored), heads = c_.index_n_heads, dim = c_.index_head_dim;
  const RowFormat format = layout_.formats.index_keys;
  ThreadPool& pool = PoolFor(rows, false);
  const bool row_a_task = rows >= 2 * pool.num_threads();
  const int64_t measured = row_a_task ? std::min<int64_t>(rows, 4 * pool.num_threads()) : 1;
  std::vector<float> scores(static_cast<size_t>(measured * keys));
  std::vector<int32_t> chosen(static_cast<size_t>(measured * c_.index_topk));
  std::vector<float> queries(static_cast<size_t>(measured * heads * dim), 0.1f);
  std::vector<uint8_t> codes(queries.size());
  const auto prepare = [&](int64_t row) {  // the query, as SelectKeys does
    for (int64_t head = row * heads; head < (row + 1) * heads; ++head) {
      float scale = 0;
      if (RotatesIndex(format)) RotateIndex(kernels_, queries.data() + head * dim, dim);
      if (format == RowFormat::kInt8)
        kernels_.quantize_i8(queries.data() + head * dim, dim, codes.data() + head * dim, &scale);
    }
  };
  const auto select = [&](int64_t row) {
    kernels_.top_k(scores.data() + row * keys, keys, c_.index_topk, chosen.data() + row * c_.index_topk);
  };
  const double seconds = MedianSeconds([&] {
    const PagedRows cached = NextRows(/*index=*/true);
    const auto score = [&](int64_t row, int64_t begin, int64_t end) {
      const int64_t query = row * heads * dim;
      float* out = scores.data() + row * keys + begin;
      if (format == RowFormat::kInt8)
        return kernels_.index_scores_i8(codes.data() + query, x_.data(), heads, dim, cached, begin, end, out);
      kernels_.index_scores(queries.data() + query, x_.data(), heads, dim, cached, begin, end, out);
    };
    if (row_a_task) {
      pool.Run(measured, [&](int64_t row, int) {
        prepare(row);
        score(row, 0, keys);
        select(row);
      });
    } else {
      prepare(0);
      pool.ForRanges(keys, 256, [&](int64_t begin, int64_t end, int) { score(0, begin, end); });
      select(0);
    }
    WaitFor(scores.data(), queries.data());
  });
  return seconds * static_cast<double>(rows) / static_cast<double>(measured);
}

double KernelTimer::OfAttention(int64_t rows, double attended, bool selected, int64_t positions) {
  const int64_t heads = c_.num_attention_heads, rc = c_.kv_lora_rank, dr = c_.qk_rope_head_dim;
  ThreadPool& pool = PoolFor(rows, false);
  const int64_t measured = std::min<int64_t>(rows, 4 * pool.num_threads());
  const double row_cost = static_cast<double>(measured * heads * (2 * rc + dr));
  const int64_t count = std::max<int64_t>(1, std::llround(std::min(attended, kMostMultiplyAdds / row_cost)));
  // Ascending, one in each stretch, others for each row and each call: what is selected follows no pattern.
  constexpr int64_t kSets = 16;
  std::vector<int32_t> sets;
  const Philox random(/*seed=*/3, 0);
  for (int64_t i = 0; selected && i < kSets * count; ++i)
    sets.push_back(static_cast<int32_t>((static_cast<double>(i % count) + random.Uniform(static_cast<uint64_t>(i))) *
                                        static_cast<double>(positions) / static_cast<double>(count)));
  const int64_t per_task =
      pool.num_threads() == 1 || rows >= 2 * pool.num_threads() ? heads : std::min(heads, kHeadsPerTask);
  const int64_t tasks_per_row = (heads + per_task - 1) / per_task;
  std::vector<float> out(static_cast<size_t>(measured * heads * rc));
  const int64_t scratch_floats = AttendLatentScratch(layout_.formats.latents, heads, rc, dr);
  std::vector<float> scratch(static_cast<size_t>(pool.num_threads() * scratch_floats));
  std::vector<float> q(static_cast<size_t>(heads * (rc + dr)), 0.1f);
  int64_t turn = 0;
  const double seconds = MedianSeconds([&] {
    const PagedRows cached = NextRows(/*index=*/false);
    turn += measured;
    pool.Run(measured * tasks_per_row, [&](int64_t task, int worker) {
      const int64_t row = task / tasks_per_row, h = task % tasks_per_row * per_task;
      kernels_.attend_latent(q.data() + h * (rc + dr), std::min(per_task, heads - h), rc, dr, cached,
                             selected ? sets.data() + (turn + row) % kSets * count : nullptr, count, 0.1f,
                             out.data() + (row * heads + h) * rc, scratch.data() + worker * scratch_floats);
    });
    WaitFor(out.data(), q.data());
  });
  return seconds * attended / static_cast<double>(count) * static_cast<double>(rows) / static_cast<double>(measured);
}

// One row of one layer that has everything: what threads share (`shared`), or what the forward pass leaves to one.
double KernelTimer::MeasureRow(bool selecting, bool shared) {
  const int64_t d = c_.hidden_size, heads = c_.num_attention_heads, dr = c_.qk_rope_head_dim;
  const int64_t k = c_.num_experts_per_tok, experts = c_.n_routed_experts;
  y_.resize(std::max(y_.size(), x_.size()));
  float *x = x_.data(), *y = y_.data();
  const float* ones = x;
  return MedianSeconds([&] {
    if (shared) {
      for (int i = 0; i < 2; ++i) {
        kernels_.rms_norm(x, ones, d, 1e-6f, y);
        kernels_.axpy(1e-9f, x, d, y);
        WaitFor(y, x);
      }
      if (c_.q_lora_rank > 0) kernels_.rms_norm(x, ones, c_.q_lora_rank, 1e-6f, y);
      WaitFor(y, x);
      for (int64_t h = 0; h < heads; ++h) kernels_.rope_interleaved(y + h * dr, ones, ones, dr);
      for (int64_t h = 0; selecting && h < c_.index_n_heads; ++h) kernels_.rope_half_split(y + h * dr, ones, ones, dr);
      if (experts > 0) kernels_.sigmoid(y, experts);
      for (int64_t e = 0; e < std::max<int64_t>(1, k + c_.n_shared_experts); ++e) {
        WaitFor(y, x);
        kernels_.silu_mul(x, x, experts > 0 ? c_.moe_intermediate_size : c_.intermediate_size, y);
      }
    } else {
      kernels_.rms_norm(x, ones, c_.kv_lora_rank, 1e-6f, y);
      if (c_.has_indexer()) kernels_.layer_norm(x, ones, ones, c_.index_head_dim, 1e-6f, y + c_.kv_lora_rank);
      for (int64_t e = 0; e < k; ++e) {
        WaitFor(y, x);
        std::memcpy(y, x, static_cast<size_t>(d) * sizeof(float));
        kernels_.axpy(1e-9f, x, d, y);
      }
    }
    WaitFor(y, x);
  });
}

double KernelTimer::OfRows(int64_t rows, bool selecting) {
  const double of_threads = MeasureRow(selecting, true), of_one = MeasureRow(selecting, false);
  const int threads = rows == 1 ? 1 : pool_.num_threads();
  return static_cast<double>(rows * c_.num_hidden_layers) * (of_threads / threads + of_one);
}

}  // namespace minke
