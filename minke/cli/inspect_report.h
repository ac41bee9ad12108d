// What `minke inspect` knows about a checkpoint: gathered as JSON (versioned, only grows), and as text for people.
#pragma once

#include <optional>
#include <string>

#include "minke/base/json.h"
#include "minke/base/thread_pool.h"
#include "minke/cli/model_path.h"
#include "minke/model/config.h"
#include "minke/model/model.h"
#include "minke/tensor/checkpoint.h"

namespace minke {

// {"model_type", "layers", ...} and what the sizes mean for one token.
Json ArchitectureJson(const ModelConfig& config);
// {"count", "files", "bytes", "parameters", "by_dtype": [...]}, with every tensor under "list" if asked. `config` may
// be null.
Json TensorsJson(const Checkpoint& checkpoint, const ModelConfig* config, bool list);

struct TextFacts {
  Json tokenizer, prompt_format;   // null where there is none
  std::vector<std::string> lacks;  // what does not work, and why
  Status problem;                  // a tokenizer that is damaged or of a kind that we do not compute
};
TextFacts DescribeText(const ModelPath& path, const ModelConfig& config);

// Reads every byte. Null "bad" entries mean nothing was found. `problem` names the first bad tensor.
struct Verification {
  Json json;
  Status problem;
};
Verification VerifyCheckpoint(const Checkpoint& checkpoint, ThreadPool& pool, bool show_progress);

std::string ReportText(const Json& report);

}  // namespace minke
