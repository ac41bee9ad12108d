// results.json: every number of the report under a stable key (docs/lab.md lists them).
#pragma once

#include <map>
#include <span>
#include <string>

#include "minke/base/json.h"
#include "minke/cli/lab_jobs.h"
#include "minke/cli/lab_plan.h"

namespace minke {

// {"mean", "spread": sample standard deviation, "seeds": [values]}; null for no values.
Json MeanOf(std::span<const double> values);

Json CollectLabResults(const LabSetup& setup, const std::map<std::string, LabResult>& jobs);

}  // namespace minke
