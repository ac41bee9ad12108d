// What tokens cost at each position, dense and sparse, and what others ask for them.
#pragma once

#include <string>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/cli/lab_jobs.h"
#include "minke/cli/lab_recipe.h"

namespace minke {

// On `model`, or, where it is empty, on one random layer with the attention that `cost` describes.
//   {"model", "rows": [{"phase", "attention", "position", "tokens_per_s", "usd_per_million"}]}
Result<Json> MeasureLabCost(const LabCost& cost, const std::string& model, double usd_per_hour, const std::string& isa,
                            const LabWork& work);

// USD per million tokens as published, dated, with what one output token costs beside DeepSeek-V3.2's.
//   {"rows": [{"name", "since", "cached", "input", "output", "times"}]}
Json PriceTable();

}  // namespace minke
