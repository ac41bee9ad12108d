// MODEL on the command line -> a folder or file on this machine. Nothing here uses the network.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"

namespace minke {

struct ModelPath {
  std::string path;    // what Model::Open takes: the folder, the .safetensors file or index, the .gguf file
  std::string folder;  // where config.json and tokenizer.json lie; empty where a .gguf file holds all
  std::string name;    // for people: "nano", "org/name", or the folder's own name
};

// The environment that FindModel reads, so that tests can replace it.
struct ModelSearch {
  std::string hub_cache;              // HF_HUB_CACHE, or HF_HOME/hub, or ~/.cache/huggingface/hub
  std::vector<std::string> built_in;  // folders that hold built-in models, best first
};
ModelSearch DefaultModelSearch();

// A path that exists wins over a hub name; "nano" and the models beside it are built in, unless a folder has that name.
// A folder needs no weights here (`tokenize` takes one with only tokenizer.json). Errors: kNotFound with what was tried
// and what to do; kInvalidArgument for an empty or impossible name.
Result<ModelPath> FindModel(std::string_view model, const ModelSearch& search = DefaultModelSearch());

}  // namespace minke
