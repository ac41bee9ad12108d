#include "minke/cli/prediction.h"

#include <algorithm>
#include <map>
#include <new>

#include "minke/cli/fit.h"
#include "minke/cli/kernel_timer.h"
#include "minke/cli/list_flags.h"

namespace minke {
namespace {

const std::vector<int64_t> kDepths = {0, 4096, 16384, 65536};

SpeedPrediction Predict(const Model& model, KernelTimer& timer, Phase phase, int64_t depth) {
  const ModelConfig& c = model.config();
  StepShape shape{.depth = depth};
  if (phase == Phase::kPrefill) {
    shape.tokens = kPredictedPrompt;
  } else {
    shape.depth += kPredictedAnswer / 2;
  }
  SpeedPrediction row{.phase = phase, .depth = depth, .tokens = shape.tokens};
  for (const Product& product : ListProducts(model, shape)) row.products_s += timer.OfProduct(product);

  const Visible visible = CountVisible(c, shape);
  const auto tokens = static_cast<double>(shape.tokens), layers = static_cast<double>(c.num_hidden_layers);
  row.attention_s = layers * timer.OfAttention(shape.tokens, visible.attended / tokens, 2 * visible.selecting > tokens,
                                               shape.depth + shape.tokens);
  if (visible.selecting > 0) {
    const auto indexers = static_cast<double>(
        std::count(c.has_own_indexer.begin(), c.has_own_indexer.begin() + c.num_hidden_layers, true));
    row.selection_s =
        indexers * visible.selecting / tokens * timer.OfSelection(shape.tokens, visible.scored / visible.selecting);
  }
  row.rows_s = timer.OfRows(shape.tokens, visible.selecting > 0);
  return row;
}

}  // namespace

void AddPredictionFlags(FlagSet verb, PredictionFlags& flags) {
  verb.Numbers("-d,--depth", flags.depths, 0, int64_t{1} << 32,
               "Positions in the cache for which speed is predicted (default 0,4k,16k,64k)");
  AddCacheFlags(verb, flags.cache);
}

Result<SpeedReport> PredictSpeed(const Model& model, const KernelSet& kernels, ThreadPool& pool,
                                 const PredictionFlags& flags) {
  const CacheFormats cache = flags.cache.formats();
  SpeedReport report{.kernels = kernels.name, .cache = cache, .threads = pool.num_threads(), .rows = {}, .skipped = {}};
  std::vector<int64_t> possible;
  for (const int64_t depth : flags.depths.empty() ? kDepths : flags.depths) {
    auto fit = MeasureFit(model, depth + kPredictedPrompt, pool.num_threads(), cache);
    if (!fit) {
      fit.error().message = fmt::format("{} new tokens need {} positions, the model has {}", kPredictedPrompt,
                                        depth + kPredictedPrompt, model.config().max_position_embeddings);
    } else if (!fit->fits()) {
      fit = Fail(Code::kNoMemory, "needs {}, {} are available", BytesText(fit->needed_bytes()),
                 BytesText(fit->available_bytes));
    }
    if (fit) {
      possible.push_back(depth);
    } else {
      report.skipped.push_back({depth, std::nullopt, std::nullopt, fit.error()});
    }
  }
  if (possible.empty()) return report;
  const int64_t most_positions = *std::ranges::max_element(possible) + kPredictedPrompt;
  try {
    MINKE_ASSIGN(const auto timer, KernelTimer::Create(model, kernels, pool, cache, kPredictedPrompt, most_positions));
    for (const Phase phase : {Phase::kPrefill, Phase::kDecode})
      for (const int64_t depth : possible) report.rows.push_back(Predict(model, *timer, phase, depth));
  } catch (const std::bad_alloc&) {
    return Fail(Code::kNoMemory, "prediction: no memory for what is timed at {} positions", most_positions);
  }
  return report;
}

Json SpeedJson(const SpeedReport& report) {
  Json rows = Json::array(), skipped = Json::array();
  for (const SpeedPrediction& row : report.rows)
    rows.push_back({{"phase", PhaseName(row.phase)},
                    {"depth", row.depth},
                    {"tokens_per_s", row.tokens_per_s()},
                    {"ms_per_step",
                     {{"tokens", row.tokens},
                      {"products", 1e3 * row.products_s},
                      {"selection", 1e3 * row.selection_s},
                      {"attention", 1e3 * row.attention_s},
                      {"rows", 1e3 * row.rows_s}}}});
  for (const BenchSkip& skip : report.skipped)
    skipped.push_back({{"depth", skip.depth}, {"reason", skip.error.message}});
  return {{"kernels", report.kernels},
          {"cache", CacheText(report.cache)},
          {"threads", report.threads},
          {"rows", rows},
          {"skipped", skipped}};
}

std::string SpeedText(const SpeedReport& report) {
  std::string text = fmt::format("speed, predicted: one sequence, {} thread{}, {}, cache {}\n", report.threads,
                                 report.threads == 1 ? "" : "s", report.kernels, CacheText(report.cache));
  std::map<int64_t, std::map<Phase, double>> by_depth;
  for (const SpeedPrediction& row : report.rows) by_depth[row.depth][row.phase] = row.tokens_per_s();
  const auto rate = [](double value) { return fmt::format("{:.{}f}", value, value < 100 ? 2 : 0); };
  for (const auto& [depth, rates] : by_depth)
    text += fmt::format("  at {:<5} prefill {:>7} tokens/s, decode {:>7} tokens/s\n", CountWord(depth),
                        rate(rates.at(Phase::kPrefill)), rate(rates.at(Phase::kDecode)));
  for (const BenchSkip& skip : report.skipped)
    text += fmt::format("  not at {}: {}\n", CountWord(skip.depth), skip.error.message);
  return text;
}

}  // namespace minke
