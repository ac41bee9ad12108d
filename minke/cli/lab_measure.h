// The experiment's measurements that sample answers: accuracy at thinking budgets, and answers that are good enough to
// learn from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/cli/lab_jobs.h"

namespace minke {

struct LabAsk {
  std::string model, task = "countdown";
  std::vector<int64_t> budgets;  // thinking tokens
  int64_t problems = 400;
  uint64_t problem_seed = 1, seed = 1;  // of the held-out problems, of the draws
  bool dense = false;

  Json ToJson() const;
};

// At temperature 1: {budget: {"accuracy", ..., "chosen_tokens", "cpu_seconds"}}. Writes
// work.folder/answers-BUDGET.jsonl.
Result<Json> AskModel(const LabAsk& ask, const std::string& isa, const LabWork& work);

// Answers of `model` to `count` training problems, those that are right, well formed and ended by the model itself, as
// lines that minke train reads: work.folder/accepted.jsonl. {"accepted", "rollouts", "demonstrations": that had to
// stand in}.
Result<Json> AcceptSamples(const std::string& model, const std::string& task, int64_t budget, int64_t count,
                           uint64_t seed, const std::string& isa, const LabWork& work);

}  // namespace minke
