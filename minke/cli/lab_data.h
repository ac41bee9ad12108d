// What the experiment's models start from: a folder with configuration and tokenizer, and files of demonstrations.
#pragma once

#include <string>
#include <vector>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/cli/lab_jobs.h"
#include "minke/cli/lab_recipe.h"

namespace minke {

// The folder of a built-in model, whatever else has its name where the program runs.
std::string BuiltInModel(const std::string& name);

// nano's shape and tokenizer, without its weights.
struct LabBase {
  std::string folder;  // of nano
  Json config, key;
  int64_t index_topk = 0;
};
Result<LabBase> FindLabBase(const LabRecipe& recipe);

struct LabFile {
  std::string name;
  struct Share {
    std::string task;
    int64_t count = 0;
  };
  std::vector<Share> shares;
  Json ToJson() const;
};
std::vector<LabFile> LabFiles(const LabRecipe& recipe, int64_t index_topk);
std::string LabLookupTask(const LabLookup& lookup, int64_t index_topk);

// work.folder/base and the files beside it.
Result<Json> WriteLabData(const LabBase& base, const std::vector<LabFile>& files, const LabWork& work);

}  // namespace minke
