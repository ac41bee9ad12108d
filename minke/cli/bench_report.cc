#include "minke/cli/bench_report.h"

#include "minke/cli/bench_cost.h"
#include "minke/cli/list_flags.h"

namespace minke {
namespace {

constexpr const char* kLine = "{:<8} {:>6} {:>6} {:>6} {:>8}  {:<9} {:>10} {:>7} {:>9}  {}\n";

}  // namespace

std::string BenchTableHead() {
  return fmt::format(kLine, "phase", "depth", "tokens", "batch", "threads", "attention", "tokens/s", "spread",
                     "roofline", "bound by");
}

std::string BenchTableLine(const BenchRow& row) {
  return fmt::format(kLine, PhaseName(row.phase), CountWord(row.depth), row.tokens, row.batch, row.threads,
                     AttentionName(row.attention),
                     fmt::format("{:.{}f}", row.tokens_per_s, row.tokens_per_s < 100 ? 2 : 0),
                     fmt::format("{:.1f} %", 100 * row.spread), fmt::format("{:.1f} %", 100 * row.roofline()),
                     row.memory_bound ? "memory" : "arithmetic");
}

Json BenchRowJson(const BenchRow& row, const BenchSubject& subject, double usd_per_hour) {
  Json json = {{"phase", PhaseName(row.phase)},
               {"depth", row.depth},
               {"tokens", row.tokens},
               {"batch", row.batch},
               {"threads", row.threads},
               {"attention", AttentionName(row.attention)},
               {"weights", subject.weights},
               {"cache", subject.cache},
               {"tokens_per_s", row.tokens_per_s},
               {"spread", row.spread},
               {"roofline", row.roofline()},
               {"roofline_tokens_per_s", row.num_tokens() / row.least_s},
               {"bound_by", row.memory_bound ? "memory" : "arithmetic"},
               {"bytes_per_token",
                {{"weights", row.work.weight_bytes / row.num_tokens()},
                 {"index_keys", row.work.index_bytes / row.num_tokens()},
                 {"latents", row.work.latent_bytes / row.num_tokens()}}},
               {"flop_per_token",
                {{"weights", row.work.weight_flop / row.num_tokens()},
                 {"weights_in_tiles", row.work.tile_op / row.num_tokens()},
                 {"index_scores", row.work.index_flop / row.num_tokens()},
                 {"attention", row.work.attention_flop / row.num_tokens()}}}};
  if (usd_per_hour > 0) json["usd_per_million_tokens"] = UsdPerMillionTokens(usd_per_hour, row.tokens_per_s);
  return json;
}

Json BenchSkipJson(const BenchSkip& skip) {
  return {{"depth", skip.depth},
          {"phase", skip.phase ? Json(PhaseName(*skip.phase)) : Json()},
          {"batch", skip.batch ? Json(*skip.batch) : Json()},
          {"reason", skip.error.message}};
}

}  // namespace minke
