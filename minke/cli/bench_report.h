// How the rows of `minke bench` are written: a table that grows line by line, and JSON.
#pragma once

#include <string>

#include "minke/base/json.h"
#include "minke/cli/bench_run.h"

namespace minke {

std::string BenchTableHead();
std::string BenchTableLine(const BenchRow& row);

// What is the same for all rows.
struct BenchSubject {
  std::string weights, cache;  // number formats
};
// `usd_per_hour` may be 0: no cost.
Json BenchRowJson(const BenchRow& row, const BenchSubject& subject, double usd_per_hour);
Json BenchSkipJson(const BenchSkip& skip);

}  // namespace minke
