#include "minke/cli/lab_claims.h"

#include <fmt/format.h>

#include <cmath>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string_view>

#include "minke/cli/lab_targets.h"

namespace minke {
namespace {

constexpr double kPoint = 0.01, kRounding = 1e-9;

std::string Percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

LabVerdict Judge(bool all, bool some) {
  return all ? LabVerdict::kHolds : some ? LabVerdict::kPartly : LabVerdict::kFails;
}

LabClaim Cost(const Json& results) {
  LabClaim c{1, "Sparse attention cuts the cost of a token at 128K by 75 to 83 % against the dense predecessor",
             "holds: prefill and decode both save at least 75 % at the longest position measured; in part: 50 %", "",
             "One layer in F32 with a small FFN on a CPU: the FFN's constant share of a real model's token is missing, "
             "so the saving here is an upper bound; prefill is measured in short pieces behind a full cache."};
  const auto prefill = NumberAt(results, {"cost", "saving", "prefill", "share"});
  const auto decode = NumberAt(results, {"cost", "saving", "decode", "share"});
  const auto position = NumberAt(results, {"cost", "saving", "decode", "position"});
  if (!prefill || !decode || !position) return c;
  c.measured =
      fmt::format("at position {:.0f}: prefill {} cheaper, decode {}", *position, Percent(*prefill), Percent(*decode));
  c.verdict = Judge(std::min(*prefill, *decode) >= 0.75, std::min(*prefill, *decode) >= 0.5);
  return c;
}

LabClaim Quality(const Json& results) {
  LabClaim c{
      2, "... without loss of quality",
      "holds: sparse accuracy within 2 points of the dense control and loss within 1 %, and the lookup task at many "
      "times index_topk solved to 95 % with the trained indexer and at least 10 points worse with a random or "
      "sliding-window selection; in part: the accuracy alone. The dense control solves at least 10 %",
      "",
      "Short contexts of one puzzle; full-size models were compared on benchmarks with contexts far longer than "
      "the selection."};
  const auto dense = NumberAt(results, {"dense_accuracy"}), sparse = NumberAt(results, {"sparse_accuracy"});
  const auto dense_loss = NumberAt(results, {"dense_loss"}), sparse_loss = NumberAt(results, {"sparse_loss"});
  const auto indexer = NumberAt(results, {"lookup", "indexer"}), random = NumberAt(results, {"lookup", "random"});
  const auto window = NumberAt(results, {"lookup", "window"});
  if (!dense || !sparse || !dense_loss || !sparse_loss) return c;
  c.measured = fmt::format("accuracy dense {}, sparse {}; loss {:.4f}, {:.4f}", Percent(*dense), Percent(*sparse),
                           *dense_loss, *sparse_loss);
  if (indexer && random && window)
    c.measured += fmt::format("; lookup with the indexer {}, random {}, window {}", Percent(*indexer), Percent(*random),
                              Percent(*window));
  const bool accurate = LabTargetHolds(results, "sparse_parity");
  c.verdict = Judge(accurate && *sparse_loss <= 1.01 * *dense_loss && LabTargetHolds(results, "lookup"), accurate);
  return c;
}

// The largest budget that both arms have been asked at, up to `most`.
std::string Budget(const Json& results, std::string_view arm, int64_t most) {
  int64_t best = 0;
  if (results.contains("accuracy") && results["accuracy"].contains(arm))
    for (const auto& [key, value] : results["accuracy"][std::string(arm)].items())
      if (const int64_t budget = std::atoll(key.c_str()); budget <= most) best = std::max(best, budget);
  return std::to_string(best);
}

LabClaim Scaling(const Json& results) {
  LabClaim c{3, "RL keeps scaling: post-training at more than 10 % of pre-training compute lifts reasoning far",
             "holds: the better arm at least 15 points over its start and more than twice the standard error; in part: "
             "more than twice the standard error",
             "",
             "A model of 2 million parameters on one task; the ratio of compute is far above the report's, since the "
             "training before is short."};
  std::optional<double> best, error;
  std::string arm_name, budget;
  for (const std::string arm : {"standard", "mild", "speciale"}) {
    const std::string at = Budget(results, arm, 384);
    const auto mean = NumberAt(results, {"accuracy", arm, at, "mean"});
    if (mean && (!best || *mean > *best))
      best = mean, arm_name = arm, budget = at, error = NumberAt(results, {"accuracy", arm, at, "standard_error"});
  }
  const auto start = NumberAt(results, {"accuracy", "sft", budget, "mean"});
  if (!best || !start || !error) return c;
  const auto start_error = NumberAt(results, {"accuracy", "sft", budget, "standard_error"}).value_or(0);
  const double gain = *best - *start, doubt = 2 * std::hypot(*error, start_error);
  c.measured = fmt::format("{} -> {} at budget {} ({}), {:+.1f} points, twice the standard error {:.1f}",
                           Percent(*start), Percent(*best), budget, arm_name, 100 * gain, 100 * doubt);
  const auto before = NumberAt(results, {"training", "cpu_seconds"});
  if (const auto rl = NumberAt(results, {"rl", arm_name, "cpu_seconds", "mean"}); rl && before && *before > 0)
    c.measured +=
        fmt::format("; RL took {:.0f} CPU seconds, {:.0f} % of the training before", *rl, 100 * *rl / *before);
  c.verdict = Judge(gain >= 15 * kPoint - kRounding && gain > doubt, gain > doubt);
  return c;
}

LabClaim Relaxing(const Json& results) {
  LabClaim c{
      4, "Relaxing the length limit lets the model think longer and get better",
      "holds: at budget 384 speciale is at least 5 points over standard with at least 1.5 times its thinking tokens, "
      "and its accuracy rises at each of 48, 96, 192 and 384 tokens where the start's does not; in part: thinks longer "
      "and is better by more than twice the standard error",
      "",
      "Persistence alone solves more puzzles, so see the share solved within 2, 4 and 8 attempts beside it; traces "
      "end near 640 tokens here, and 77,000 there."};
  const std::string at = Budget(results, "speciale", 384);
  const auto standard = NumberAt(results, {"accuracy", "standard", at, "mean"});
  const auto speciale = NumberAt(results, {"accuracy", "speciale", at, "mean"});
  const auto short_think = NumberAt(results, {"think_tokens", "standard", at, "mean"});
  const auto long_think = NumberAt(results, {"think_tokens", "speciale", at, "mean"});
  if (!standard || !speciale || !short_think || !long_think) return c;
  const auto before = RisesWithBudget(results, "sft"), after = RisesWithBudget(results, "speciale");
  const double doubt = 2 * std::hypot(NumberAt(results, {"accuracy", "standard", at, "standard_error"}).value_or(0),
                                      NumberAt(results, {"accuracy", "speciale", at, "standard_error"}).value_or(0));
  const double gain = *speciale - *standard, ratio = *long_think / std::max(*short_think, 1e-9);
  const auto words = [](std::optional<bool> rises) {
    return !rises ? "was not measured at all four" : *rises ? "rises" : "does not always rise";
  };
  c.measured = fmt::format(
      "at budget {}: standard {} with {:.0f} thinking tokens, speciale {} with {:.0f} ({:.2f} times); accuracy from 48 "
      "to 384 tokens {} for speciale, {} for the start",
      at, Percent(*standard), *short_think, Percent(*speciale), *long_think, ratio, words(after), words(before));
  const bool scales = after && *after && before && !*before;
  c.verdict = Judge(gain >= 5 * kPoint - kRounding && ratio >= 1.5 - kRounding && scales, gain > doubt && ratio > 1);
  return c;
}

LabClaim Tokens(const Json& results) {
  LabClaim c{
      5, "Longer thinking costs tokens: where one rival needs 20,000, Speciale needs 77,000",
      "holds: speciale uses at least 1.4 times standard's tokens for a solved problem (the report's own ratio of "
      "Speciale to V3.2 is 1.4 to 2.3 for an answer); in part: more than standard",
      "", "The ratio is of our two arms; the rival is not here to be measured."};
  const std::string at = Budget(results, "speciale", 384);
  const auto standard = NumberAt(results, {"tokens_per_solved", "standard", at});
  const auto speciale = NumberAt(results, {"tokens_per_solved", "speciale", at});
  if (!standard || !speciale) return c;
  c.measured = fmt::format("tokens for a solved problem at budget {}: standard {:.0f}, speciale {:.0f}", at, *standard,
                           *speciale);
  const auto cpu_standard = NumberAt(results, {"cpu_seconds_per_solved", "standard", at});
  const auto cpu_speciale = NumberAt(results, {"cpu_seconds_per_solved", "speciale", at});
  if (cpu_standard && cpu_speciale)
    c.measured += fmt::format("; CPU seconds {:.3f} and {:.3f}", *cpu_standard, *cpu_speciale);
  c.verdict = Judge(*speciale >= 1.4 * *standard, *speciale > *standard);
  return c;
}

LabClaim Agents(const Json& results) {
  LabClaim c{6, "General agent skill can be trained on synthesised environments",
             "holds: RL in the calculator's environment lifts the accuracy on held-out problems by more than twice the "
             "standard error, and the model after mixed RL is within 3 points of the specialist; in part: the first",
             "", "One environment with one tool, against more than 1,800 environments."};
  const auto before = NumberAt(results, {"mixed", "sft", "countdown-tool", "accuracy"});
  const auto after = NumberAt(results, {"mixed", "specialist", "countdown-tool", "accuracy"});
  const auto mixed = NumberAt(results, {"mixed", "mixed", "countdown-tool", "accuracy"});
  if (!before || !after || !mixed) return c;
  const double doubt =
      2 * std::hypot(NumberAt(results, {"mixed", "sft", "countdown-tool", "standard_error"}).value_or(0),
                     NumberAt(results, {"mixed", "specialist", "countdown-tool", "standard_error"}).value_or(0));
  c.measured = fmt::format("countdown-tool: {} before, {} the specialist, {} after distillation and mixed RL",
                           Percent(*before), Percent(*after), Percent(*mixed));
  const bool lifted = *after - *before > doubt;
  c.verdict = Judge(lifted && *mixed >= *after - 3 * kPoint, lifted);
  return c;
}

LabClaim Price(const Json& results) {
  LabClaim c{7, "Output is 24 to 43 times cheaper than that of the closed rivals",
             "holds: the published prices give ratios from 23.5 to 43.5", "",
             "Prices of an hour's cloud service, not of this machine; the local cost is of a model of 2 million "
             "parameters and compares with nothing."};
  double least = std::numeric_limits<double>::infinity(), most = 0;
  if (results.contains("prices"))
    for (const Json& row : results["prices"].at("rows")) {
      const double times = row.at("times");
      if (times > 1) least = std::min(least, times), most = std::max(most, times);
    }
  if (most == 0) return c;
  c.measured = fmt::format("output prices are {:.1f} to {:.1f} times DeepSeek-V3.2's", least, most);
  c.verdict = Judge(least >= 23.5 && most <= 43.5, most > 1);
  return c;
}

LabClaim Hardware(const Json& results) {
  LabClaim c{
      8, "It need not run on one vendor's hardware",
      "holds: every instruction set of this program that this processor has computes the start model, two or more "
      "of them, and they differ by less than 0.001 in a logit; in part: one",
      "", "Processors only, and only this one: other architectures are run by the project's tests, under emulation."};
  if (!results.contains("kernels")) return c;
  int here = 0;
  double most = 0;
  std::string names;
  for (const Json& set : results["kernels"]) {
    const bool runs = set.value("runs_here", false);
    names += fmt::format("{}{}{}", names.empty() ? "" : ", ", set.value("name", ""), runs ? "" : " (not here)");
    here += runs;
    if (runs) most = std::max(most, set.value("max_abs_diff", 0.0));
  }
  c.measured = fmt::format("{}; largest difference of a logit {:.2g}", names, most);
  c.verdict = Judge(here >= 2 && most < 1e-3, here >= 1 && most < 1e-3);
  return c;
}

}  // namespace

const char* Name(LabVerdict verdict) {
  switch (verdict) {
    case LabVerdict::kHolds:
      return "holds";
    case LabVerdict::kPartly:
      return "holds in part";
    case LabVerdict::kFails:
      return "does not hold here";
    case LabVerdict::kNotMeasured:
      break;
  }
  return "not measured";
}

Json LabClaim::ToJson() const {
  return {{"claim", claim}, {"rule", rule}, {"measured", measured}, {"verdict", Name(verdict)}, {"scale", scale}};
}

std::vector<LabClaim> JudgeLabClaims(const Json& results) {
  return {Cost(results),   Quality(results), Scaling(results), Relaxing(results),
          Tokens(results), Agents(results),  Price(results),   Hardware(results)};
}

}  // namespace minke
