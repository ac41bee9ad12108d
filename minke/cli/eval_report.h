// How judged answers are written: the numbers of a task as JSON, and every answer as a line.
#pragma once

#include <span>
#include <string>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/train/evaluate.h"

namespace minke {

// "accuracy", "standard_error", "think_tokens", ..., "forced": shares of nothing are null.
void AppendScore(const TaskScore& score, OrderedJson& json);

// One line for each problem: its facts, the answer and the verdict.
Status WriteAnswers(const std::string& path, std::span<const Problem> problems, const TaskResult& result);

}  // namespace minke
