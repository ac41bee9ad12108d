// What a million tokens cost at each position, on a machine that costs so much an hour: as a table, and as the curves
// of Figure 3 of the DeepSeek-V3.2 report.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "minke/cli/bench_run.h"
#include "minke/cli/chart.h"

namespace minke {

double UsdPerMillionTokens(double usd_per_hour, double tokens_per_s);

// A line for each position, batch and number of threads; a column for each phase and attention.
std::string CostTable(std::span<const BenchRow> rows, double usd_per_hour);

// One panel a phase that was measured, one line for each attention, batch and number of threads.
std::vector<ChartPanel> CostPanels(std::span<const BenchRow> rows, double usd_per_hour);

}  // namespace minke
