// What tokens cost at each position, dense and sparse, and what others ask for them.
#pragma once

#include <string>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/cli/lab_jobs.h"
#include "minke/cli/lab_recipe.h"

namespace minke {

// All that the cost depends on: what is measured, and the machine with its kernel set and threads. So a folder of
// results that is taken to another machine measures anew. `isa` as ChooseKernelSet takes it; an unknown one is recorded
// as it is.
Json LabCostKey(const LabCost& cost, const std::string& model, double usd_per_hour, const std::string& isa,
                int threads);

// On `model`, or, where it is empty, on one random layer with the attention that `cost` describes.
//   {"model", "rows": [{"phase", "attention", "position", "tokens_per_s", "usd_per_million"}]}
Result<Json> MeasureLabCost(const LabCost& cost, const std::string& model, double usd_per_hour, const std::string& isa,
                            const LabWork& work);

// USD per million tokens as published, dated, with what one output token costs beside DeepSeek-V3.2's.
//   {"rows": [{"name", "since", "cached", "input", "output", "times"}]}
Json PriceTable();

}  // namespace minke
