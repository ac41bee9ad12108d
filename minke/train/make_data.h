// Problems and demonstrations of a task as JSON lines, for training files and for measuring.
#pragma once

#include "minke/train/task.h"

namespace minke {

// {"id", "prompt", facts...}: what Task::Read takes.
OrderedJson ProblemLine(const Problem& problem);

// Demonstration `index` of a run with `seed`:
//   {"messages": [system?, user, assistant...]}     with reasoning_content, tool_calls and tool messages as in a
//   request
//   {"messages": [system?, user], "parts": [{"text", "loss"}...]}     where an environment writes between the model's
//       words: the raw text after the prompt in thinking mode, markers and end marker included. Tokens are those of the
//       parts one by one; parts with "loss": false are read and not learnt.
// and "task".
std::string DemonstrationLine(const Task& task, uint64_t seed, uint64_t index, Split split, Searcher searcher);

}  // namespace minke
