#include "minke/cli/bench_run.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "minke/base/available_memory.h"
#include "minke/base/rng.h"
#include "minke/cli/disk_speed.h"
#include "minke/cli/terminal.h"
#include "minke/engine/page_pool.h"
#include "minke/engine/random_rows.h"

namespace minke {
namespace {

constexpr int64_t kStepRows = 512;  // of prefill, all sequences together: what the engine takes

ForwardOptions MakeForwardOptions(const BenchOptions& options, Attention attention, int64_t positions) {
  const int64_t batch = options.batches.back();
  ForwardOptions forward;
  forward.max_batch_tokens = std::max(batch, std::min(kStepRows, batch * std::max<int64_t>(options.prompt_tokens, 1)));
  if (options.fill_by_prefill) forward.max_batch_tokens = std::max(batch, kStepRows);
  forward.max_logit_rows = batch;
  forward.max_context = positions;
  forward.attention = attention;
  forward.cache = options.cache;
  return forward;
}

// Sequences of one batch with their caches, filled up to some depth.
class Sequences {
 public:
  static Result<std::unique_ptr<Sequences>> Create(const Model& model, const CacheFormats& cache, int64_t batch,
                                                   int64_t positions) {
    auto made = std::unique_ptr<Sequences>(new Sequences(positions));
    const int64_t pages = PagePool::PagesFor(positions);
    MINKE_ASSIGN(made->pool_, PagePool::Create(model.cache_layout(cache), batch * pages));
    for (int64_t i = 0; i < batch; ++i) {
      MINKE_TRY(made->tables_.emplace_back(*made->pool_, pages).Grow(pages));
      std::vector<TokenId>& tokens = made->tokens_.emplace_back();
      const Philox random(/*seed=*/2, static_cast<uint64_t>(i));
      for (int64_t pos = 0; pos < positions; ++pos)
        tokens.push_back(static_cast<TokenId>(random.Uniform(static_cast<uint64_t>(pos)) *
                                              static_cast<double>(model.config().vocab_size)));
    }
    return made;
  }

  int64_t size() const { return static_cast<int64_t>(tables_.size()); }
  int64_t positions() const { return positions_; }
  int64_t filled() const { return filled_; }
  std::span<const PageTable> tables() const { return tables_; }
  void set_filled(int64_t filled) { filled_ = filled; }

  // Positions [first, first + count) of every sequence as one step.
  std::span<const BatchItem> Step(int64_t first, int64_t count, bool logits) {
    items_.clear();
    for (size_t i = 0; i < tables_.size(); ++i)
      items_.push_back(
          {.tokens =
               std::span<const TokenId>(tokens_[i]).subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
           .first_pos = first,
           .pages = tables_[i].pages(),
           .logits = logits ? BatchItem::Logits::kLast : BatchItem::Logits::kNone});
    return items_;
  }

 private:
  explicit Sequences(int64_t positions) : positions_(positions) {}

  const int64_t positions_;  // that each has room for
  std::unique_ptr<PagePool> pool_;
  std::vector<PageTable> tables_;             // [batch]
  std::vector<std::vector<TokenId>> tokens_;  // [batch][positions]
  std::vector<BatchItem> items_;
  int64_t filled_ = 0;
};

// The median and its spread; `seconds` are sorted.
void Summarise(std::vector<double>& seconds, BenchRow& row) {
  std::ranges::sort(seconds);
  const size_t half = seconds.size() / 2;
  const double median = seconds.size() % 2 ? seconds[half] : (seconds[half - 1] + seconds[half]) / 2;
  row.tokens_per_s = row.num_tokens() / median;
  row.spread = (row.num_tokens() / seconds.front() - row.num_tokens() / seconds.back()) / row.tokens_per_s;
}

class Runner {
 public:
  Runner(const Model& model, const KernelSet& kernels, const BenchOptions& options, const BenchWatcher& watcher)
      : model_(model), kernels_(kernels), options_(options), watcher_(watcher) {}

  Result<BenchReport> Run() {
    MINKE_ASSIGN(const BenchPlan plan, Plan());
    report_.skipped = plan.skipped;
    if (plan.points.empty()) {
      const BenchSkip& first = plan.skipped.front();
      return Fail(first.error.code, "nothing can be measured: {}", SkipText(first));
    }
    all_ = CountTokens(plan);
    for (const int64_t threads : options_.threads) MINKE_TRY(RunThreads(plan, static_cast<int>(threads)));
    return std::move(report_);
  }

 private:
  Result<BenchPlan> Plan() const {
    BenchLimits limits{.positions = model_.config().max_position_embeddings,
                       .page_bytes = PageBytes(),
                       .available_bytes = AvailableMemoryBytes()};
    for (const Attention attention : options_.attentions)
      limits.fixed_bytes += Forward::ScratchBytes(model_, static_cast<int>(options_.threads.back()),
                                                  MakeForwardOptions(options_, attention, Positions(limits.positions)));
    if (model_.memory_bytes() > 0) {
      const int64_t positions = options_.depths.front() + std::max(options_.prompt_tokens, options_.decode_tokens);
      const int64_t smallest = options_.batches.front() * PagePool::PagesFor(std::min(limits.positions, positions));
      MINKE_TRY(model_.ExpertBytes(limits.fixed_bytes + smallest * limits.page_bytes, Caches()));
      limits.available_bytes = std::min(limits.available_bytes, model_.memory_bytes() - model_.resident_bytes() -
                                                                    Caches() * model_.least_expert_bytes());
    }
    return PlanBench(options_, limits);
  }
  int64_t PageBytes() const {
    return model_.cache_layout(options_.cache).page_floats() * static_cast<int64_t>(sizeof(float));
  }
  int64_t Caches() const { return std::ssize(options_.attentions); }  // each has experts of its own

  // For the experts of one attention: what activations and the largest cache of the plan leave.
  Result<int64_t> ExpertBytes(const BenchPlan& plan, int threads) const {
    int64_t other = 0;
    for (const BenchPoint& point : plan.points)
      other = std::max(other, point.batch * PagePool::PagesFor(point.positions) * PageBytes());
    for (const Attention attention : options_.attentions)
      other += Forward::ScratchBytes(
          model_, threads, MakeForwardOptions(options_, attention, Positions(model_.config().max_position_embeddings)));
    return model_.ExpertBytes(other, Caches());
  }

  // All that will run, for the progress.
  int64_t CountTokens(const BenchPlan& plan) const {
    int64_t tokens = 0, batch = 0, filled = 0;
    for (const BenchPoint& point : plan.points) {
      if (std::exchange(batch, point.batch) != point.batch) filled = 0;
      if (options_.fill_by_prefill) tokens += batch * (point.depth - filled);
      filled = point.depth;
      for (const Phase phase : point.phases)
        tokens += batch * options_.tokens(phase) * options_.repetitions * std::ssize(options_.attentions);
    }
    return tokens * std::ssize(options_.threads);
  }
  void Done(int64_t tokens) { watcher_.progress(done_ += tokens, all_); }

  int64_t Positions(int64_t most) const {
    return std::min(most, options_.depths.back() + std::max(options_.prompt_tokens, options_.decode_tokens));
  }

  Status RunThreads(const BenchPlan& plan, int threads) {
    MINKE_ASSIGN(const auto pool, ThreadPool::Create(threads));
    report_.peaks.push_back(MeasurePeaks(&kernels_, *pool, AvailableMemoryBytes()));
    watcher_.peaks(report_.peaks.back());
    std::vector<std::unique_ptr<Forward>> forwards;  // one for each attention
    for (const Attention attention : options_.attentions) {
      const int64_t positions = Positions(model_.config().max_position_embeddings);
      ForwardOptions forward_options = MakeForwardOptions(options_, attention, positions);
      MINKE_ASSIGN(forward_options.expert_bytes, ExpertBytes(plan, threads));
      MINKE_ASSIGN(auto forward, Forward::Create(model_, kernels_, *pool, forward_options));
      forwards.push_back(std::move(forward));
    }
    std::unique_ptr<Sequences> sequences;
    for (const BenchPoint& point : plan.points) {
      if (!sequences || sequences->size() != point.batch) {
        int64_t positions = 0;
        for (const BenchPoint& other : plan.points)
          if (other.batch == point.batch) positions = std::max(positions, other.positions);
        sequences.reset();  // first gives back what it has
        MINKE_ASSIGN(sequences, Sequences::Create(model_, options_.cache, point.batch, positions));
        MINKE_TRY(WarmUp(forwards, *sequences));
      }
      MINKE_TRY(FillTo(point.depth, *forwards.front(), *pool, *sequences));
      for (const Phase phase : point.phases) MINKE_TRY(MeasurePhase(phase, point.depth, forwards, *sequences));
    }
    return {};
  }

  // Weights come into memory and scratch gets its pages. What it writes is filled over or measured over.
  Status WarmUp(std::span<const std::unique_ptr<Forward>> forwards, Sequences& sequences) {
    const int64_t tokens = StepTokens(sequences, std::min(sequences.positions(), options_.prompt_tokens));
    for (const auto& forward : forwards) MINKE_TRY(Step(*forward, sequences, 0, tokens, true));
    return {};
  }

  // Of each sequence in one step of at most kStepRows.
  static int64_t StepTokens(const Sequences& sequences, int64_t tokens) {
    return std::clamp<int64_t>(std::min(tokens, kStepRows / sequences.size()), 1, kStepRows);
  }

  Status FillTo(int64_t depth, Forward& forward, ThreadPool& pool, Sequences& sequences) {
    int64_t from = sequences.filled();
    if (options_.fill_by_prefill) {
      const int64_t step = StepTokens(sequences, kStepRows);
      for (; from < depth; from += step) {
        const int64_t count = std::min(step, depth - from);
        MINKE_TRY(Step(forward, sequences, from, count, false));
        Done(count * sequences.size());
      }
    } else {
      uint64_t seed = 0;
      for (const PageTable& table : sequences.tables())
        FillWithRandomRows(table, model_.cache_layout(options_.cache), from, depth, ++seed, kernels_, pool);
    }
    sequences.set_filled(depth);
    return {};
  }

  Status Step(Forward& forward, Sequences& sequences, int64_t first, int64_t count, bool logits) {
    forward.Run(sequences.Step(first, count, logits));
    return model_.Health();
  }

  // Every repetition runs each attention once, so that a slow minute of the machine hits all of them.
  Status MeasurePhase(Phase phase, int64_t depth, std::span<const std::unique_ptr<Forward>> forwards,
                      Sequences& sequences) {
    std::vector<BenchRow> rows;
    std::vector<std::vector<double>> seconds(forwards.size());
    for (const Attention attention : options_.attentions)
      rows.push_back({.phase = phase,
                      .depth = depth,
                      .tokens = options_.tokens(phase),
                      .batch = sequences.size(),
                      .threads = report_.peaks.back().threads,
                      .attention = attention,
                      .work = {},
                      .experts = {}});
    // A disk that others use changes from second to second, so it is measured between all repetitions.
    double disk = 0;
    int64_t disk_runs = 0;
    const auto measure_disk = [&]() -> Status {
      if (!model_.streams_experts()) return {};
      MINKE_ASSIGN(const double once, ModelReadSpeed(model_));
      disk += once;
      ++disk_runs;
      return {};
    };
    MINKE_TRY(measure_disk());
    for (int64_t repetition = 0; repetition < options_.repetitions; ++repetition) {
      for (size_t i = 0; i < forwards.size(); ++i) {
        const ExpertStats before = forwards[i]->expert_stats();
        MINKE_ASSIGN(const double once, MeasureOnce(*forwards[i], sequences, rows[i], /*count=*/repetition == 0));
        seconds[i].push_back(once);
        rows[i].experts += forwards[i]->expert_stats() - before;
        rows[i].all_seconds += once;
      }
      MINKE_TRY(measure_disk());
    }
    if (disk_runs > 0)
      for (BenchRow& row : rows) row.disk_bytes_per_s = disk / static_cast<double>(disk_runs);
    for (size_t i = 0; i < rows.size(); ++i) {
      Summarise(seconds[i], rows[i]);
      rows[i].memory_bound = LeastTime(rows[i].work, report_.peaks.back()).memory_bound();
      MINKE_TRY(watcher_.row(rows[i]));
      report_.rows.push_back(rows[i]);
    }
    return {};
  }

  // Seconds of one repetition, in steps as the engine would take them. `count` adds up its work in the row, outside the
  // time; other repetitions run the same tokens and do the same.
  Result<double> MeasureOnce(Forward& forward, Sequences& sequences, BenchRow& row, bool count) {
    const int64_t step = row.phase == Phase::kDecode ? 1 : StepTokens(sequences, row.tokens);
    double seconds = 0;
    for (int64_t at = 0; at < row.tokens; at += step) {
      const int64_t tokens = std::min(step, row.tokens - at);
      const bool logits = row.phase == Phase::kDecode || at + tokens == row.tokens;
      const auto items = sequences.Step(row.depth + at, tokens, logits);
      const double begin = MonotonicSeconds();
      forward.Run(items);
      seconds += MonotonicSeconds() - begin;
      MINKE_TRY(model_.Health());
      Done(tokens * row.batch);
      if (!count) continue;
      StepShape shape{.batch = row.batch,
                      .tokens = tokens,
                      .depth = row.depth + at,
                      .logits = logits,
                      .attention = row.attention,
                      .cache = options_.cache,
                      .experts = ExpertsOfLayer(forward.stats())};
      const Work work = CountWork(model_, shape);
      row.work += work;
      row.least_s += LeastTime(work, report_.peaks.back()).seconds();
    }
    return std::max(seconds, 1e-9);
  }

  std::optional<double> ExpertsOfLayer(const ForwardStats& stats) const {
    const std::vector<bool>& is_moe = model_.config().is_moe_layer;
    const auto layers = std::count(is_moe.begin(), is_moe.begin() + model_.config().num_hidden_layers, true);
    if (layers == 0) return std::nullopt;
    return static_cast<double>(stats.experts) / static_cast<double>(layers);
  }

  const Model& model_;
  const KernelSet& kernels_;
  const BenchOptions& options_;
  const BenchWatcher& watcher_;
  BenchReport report_;
  int64_t done_ = 0, all_ = 0;
};

}  // namespace

Result<BenchReport> RunBench(const Model& model, const KernelSet& kernels, const BenchOptions& options,
                             const BenchWatcher& watcher) {
  return Runner(model, kernels, options, watcher).Run();
}

}  // namespace minke
