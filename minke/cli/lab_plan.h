// Which jobs the parts of the experiment are made of, and what each waits for.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "minke/base/result.h"
#include "minke/cli/lab_jobs.h"
#include "minke/cli/lab_recipe.h"

namespace minke {

inline constexpr const char* kLabParts[] = {"parity", "lookup", "rl", "budget", "cost", "mixed"};

struct LabSetup {
  std::string out;
  std::string start;  // the model that RL starts from; "": the one that part parity trains
  std::string bench_model;
  LabRecipe recipe;
  int64_t seeds = 3;
  std::set<std::string> parts;
  double usd_per_hour = 0;
  std::string isa;
  int threads = 1;  // of all jobs together
  bool quiet = false;

  bool Has(const std::string& part) const { return parts.contains(part); }
};

// Names of jobs, which are keys of their results as well.
std::string RlJobName(const LabArm& arm, int64_t seed);
std::string EvalJobName(const std::string& arm, int64_t seed);  // arm "sft": the start
std::string MixEvalJobName(const std::string& model, const std::string& task);
inline constexpr const char* kMixModels[] = {"sft", "specialist-countdown", "specialist-tool", "distilled", "mixed"};
inline constexpr const char* kMixTasks[] = {"countdown", "countdown-tool"};

// Errors: those of finding the start model and nano.
Result<std::vector<LabJob>> PlanLab(const LabSetup& setup);

}  // namespace minke
