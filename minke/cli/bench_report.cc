#include "minke/cli/bench_report.h"

#include "minke/cli/bench_cost.h"
#include "minke/cli/fit.h"
#include "minke/cli/list_flags.h"
#include "minke/cli/model_flags.h"

namespace minke {
namespace {

// What holds a row back. With experts on demand it is mostly the disk, and then the share that counts is that of it.
std::string BoundBy(const BenchRow& row) {
  const char* peak = row.memory_bound ? "memory" : "arithmetic";
  if (row.experts.needed == 0) return peak;
  return fmt::format("disk: {:.1f} % of experts in memory, {}/s read, {:.1f} % of what {}/s allow",
                     100 * row.experts.hit_rate(),
                     BytesText(static_cast<int64_t>(static_cast<double>(row.experts.read_bytes) / row.all_seconds)),
                     100 * row.disk_share(), BytesText(static_cast<int64_t>(row.disk_bytes_per_s)));
}

constexpr const char* kLine = "{:<8} {:>6} {:>6} {:>6} {:>8}  {:<9} {:>10} {:>7} {:>9}  {}\n";

}  // namespace

std::string BenchTableHead() {
  return fmt::format(kLine, "phase", "depth", "tokens", "batch", "threads", "attention", "tokens/s", "spread",
                     "roofline", "bound by");
}

std::string BenchTableLine(const BenchRow& row) {
  return fmt::format(
      kLine, PhaseName(row.phase), CountWord(row.depth), row.tokens, row.batch, row.threads,
      AttentionName(row.attention), fmt::format("{:.{}f}", row.tokens_per_s, row.tokens_per_s < 100 ? 2 : 0),
      fmt::format("{:.1f} %", 100 * row.spread), fmt::format("{:.1f} %", 100 * row.roofline()), BoundBy(row));
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
                 {"in_8_bits", row.work.i8_op / row.num_tokens()},
                 {"index_scores", row.work.index_flop / row.num_tokens()},
                 {"attention", row.work.attention_flop / row.num_tokens()}}}};
  if (row.experts.needed > 0) {
    json["experts"] = Json(ExpertsAsJson(row.experts));
    json["experts"]["seconds"] = row.all_seconds;
    json["experts"]["disk_bytes_per_s"] = row.disk_bytes_per_s;
    json["experts"]["share_of_disk"] = row.disk_share();
  }
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
