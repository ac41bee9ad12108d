#include "minke/cli/bench_cost.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "minke/cli/list_flags.h"

namespace minke {
namespace {

// Three digits: from a thousandth of a cent to thousands of dollars.
std::string UsdText(double usd) {
  const int digits = usd < 1 ? 4 : usd < 10 ? 3 : usd < 100 ? 2 : 0;
  return fmt::format("{:.{}f}", usd, digits);
}

// Values that differ among the rows, in order of appearance.
template <class Get>
auto Distinct(std::span<const BenchRow> rows, Get get) {
  std::vector<decltype(get(rows[0]))> values;
  for (const BenchRow& row : rows)
    if (std::ranges::find(values, get(row)) == values.end()) values.push_back(get(row));
  return values;
}

}  // namespace

double UsdPerMillionTokens(double usd_per_hour, double tokens_per_s) {
  return usd_per_hour / 3600 / tokens_per_s * 1e6;
}

std::string CostTable(std::span<const BenchRow> rows, double usd_per_hour) {
  using Column = std::pair<Phase, Attention>;
  std::vector<Column> columns = Distinct(rows, [](const BenchRow& row) { return Column(row.phase, row.attention); });
  std::ranges::sort(columns);
  using Line = std::tuple<int, int64_t, int64_t>;  // threads, batch, position
  std::map<Line, std::map<Column, double>> lines;
  for (const BenchRow& row : rows)
    lines[{row.threads, row.batch, row.depth}][{row.phase, row.attention}] =
        UsdPerMillionTokens(usd_per_hour, row.tokens_per_s);

  std::string text = fmt::format("USD per million tokens at {} USD an hour\n{:>8} {:>6} {:>8}", usd_per_hour,
                                 "position", "batch", "threads");
  for (const auto& [phase, attention] : columns)
    text += fmt::format(" {:>14}", fmt::format("{} {}", PhaseName(phase), AttentionName(attention)));
  text += "\n";
  for (const auto& [line, costs] : lines) {
    const auto& [threads, batch, position] = line;
    text += fmt::format("{:>8} {:>6} {:>8}", CountWord(position), batch, threads);
    for (const Column& column : columns) {
      const auto cost = costs.find(column);
      text += fmt::format(" {:>14}", cost == costs.end() ? "-" : UsdText(cost->second));
    }
    text += "\n";
  }
  return text;
}

std::vector<ChartPanel> CostPanels(std::span<const BenchRow> rows, double usd_per_hour) {
  const bool name_batch = Distinct(rows, [](const BenchRow& row) { return row.batch; }).size() > 1;
  const bool name_threads = Distinct(rows, [](const BenchRow& row) { return row.threads; }).size() > 1;
  std::vector<ChartPanel> panels;
  for (const auto& [phase, title] : {std::pair{Phase::kPrefill, "Prefilling"}, std::pair{Phase::kDecode, "Decoding"}}) {
    ChartPanel panel{title, "token position (K)", "USD per million tokens", {}};
    for (const BenchRow& row : rows) {
      if (row.phase != phase) continue;
      std::string name = AttentionName(row.attention);
      if (name_batch) name += fmt::format(", batch {}", row.batch);
      if (name_threads) name += fmt::format(", {} thread{}", row.threads, row.threads == 1 ? "" : "s");
      auto line = std::ranges::find(panel.lines, name, &ChartLine::name);
      if (line == panel.lines.end()) line = panel.lines.insert(line, ChartLine{name, {}});
      line->points.emplace_back(static_cast<double>(row.depth) / 1024,
                                UsdPerMillionTokens(usd_per_hour, row.tokens_per_s));
    }
    if (!panel.lines.empty()) panels.push_back(std::move(panel));
  }
  return panels;
}

}  // namespace minke
