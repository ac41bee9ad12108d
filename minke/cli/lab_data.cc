#include "minke/cli/lab_data.h"

#include <algorithm>
#include <filesystem>

#include "minke/base/file.h"
#include "minke/cli/model_path.h"
#include "minke/train/draws.h"
#include "minke/train/make_data.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxFileBytes = int64_t{64} << 20;
constexpr const char* kTextFiles[] = {"tokenizer.json", "tokenizer_config.json", "generation_config.json"};
constexpr uint64_t kDataSeed = 1;

}  // namespace

std::string BuiltInModel(const std::string& name) {
  for (const std::string& folder : DefaultModelSearch().built_in)
    if (fs::exists(folder + "/" + name + "/config.json")) return folder + "/" + name;
  return name;
}

Result<LabBase> FindLabBase(const LabRecipe& recipe) {
  MINKE_ASSIGN(const ModelPath nano, FindModel(BuiltInModel("nano")));
  LabBase base;
  base.folder = nano.folder;
  const std::string path = base.folder + "/config.json";
  MINKE_ASSIGN(const std::string text, ReadFile(path, kMaxFileBytes));
  MINKE_ASSIGN(base.config, ParseJson(text, path));
  if (!base.config.is_object() || !base.config.contains("index_topk") || !base.config["index_topk"].is_number_integer())
    return Fail(Code::kDamaged, "{}: has no index_topk, and the lab trains a model with an indexer", path);
  base.index_topk = base.config["index_topk"];
  if (recipe.countdown.mtp_weight == 0) base.config["num_nextn_predict_layers"] = 0;
  MINKE_ASSIGN(const std::string tokenizer, ReadFile(base.folder + "/" + kTextFiles[0], kMaxFileBytes));
  base.key = {{"config", base.config}, {"tokenizer", HashText(tokenizer)}};
  return base;
}

Json LabFile::ToJson() const {
  Json list = Json::array();
  for (const Share& share : shares) list.push_back({{"task", share.task}, {"count", share.count}});
  return {{"name", name}, {"shares", list}};
}

std::string LabLookupTask(const LabLookup& lookup, int64_t index_topk) {
  return fmt::format("lookup:{}:{}", lookup.times_topk * index_topk, lookup.keys_asked);
}

std::vector<LabFile> LabFiles(const LabRecipe& recipe, int64_t index_topk) {
  LabFile lookup{"lookup.jsonl", {}}, shorter{"lookup-short.jsonl", {}};
  const auto all_keys = [&](int64_t length) {  // many keys give many targets; a record is at least 6 tokens' share
    return fmt::format("lookup:{}:{}", length, std::min(length / 6, recipe.lookup.keys_trained));
  };
  const int64_t longest = recipe.lookup.times_topk * index_topk, examples = recipe.lookup_training.examples;
  for (const int64_t part : {4, 2, 1})
    lookup.shares.push_back({all_keys(std::max<int64_t>(longest / part, 64)), examples});
  lookup.shares.push_back({LabLookupTask(recipe.lookup, index_topk), examples});
  for (const int64_t length : {16, 24, 32, 64}) shorter.shares.push_back({all_keys(length), examples});
  std::vector<LabFile::Share> countdown = {{"countdown", recipe.countdown.examples}};
  if (recipe.countdown.long_examples > 0) countdown.push_back({"countdown4", recipe.countdown.long_examples});
  return {{"countdown.jsonl", std::move(countdown)},
          {"tool.jsonl", {{"countdown-tool", recipe.countdown.tool_examples}}},
          std::move(lookup),
          std::move(shorter)};
}

Result<Json> WriteLabData(const LabBase& base, const std::vector<LabFile>& files, const LabWork& work) {
  const std::string folder = work.folder + "/base";
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return Fail(Code::kFailed, "{}: cannot be made: {}", folder, error.message());
  for (const char* name : kTextFiles) {
    const auto text = ReadFile(base.folder + "/" + name, kMaxFileBytes);
    if (text) MINKE_TRY(WriteFileAtomic(folder + "/" + name, std::as_bytes(std::span(*text))));
  }
  const std::string config = base.config.dump(2);
  MINKE_TRY(WriteFileAtomic(folder + "/config.json", std::as_bytes(std::span(config))));
  Json result = Json::object();
  for (const LabFile& file : files) {
    std::vector<std::unique_ptr<const Task>> tasks;
    for (const LabFile::Share& share : file.shares) {
      MINKE_ASSIGN(auto task, FindTask(share.task));
      tasks.push_back(std::move(task));
    }
    int64_t lines = 0;
    const Status written = WriteFileAtomic(work.folder + "/" + file.name, [&](const AppendFn& append) -> Status {
      for (size_t t = 0; t < tasks.size(); ++t)
        for (int64_t i = 0; i < file.shares[t].count; ++i, ++lines) {
          const std::string line =
              DemonstrationLine(*tasks[t], kDataSeed, static_cast<uint64_t>(i), Split::kTrain, Searcher::kRandom) +
              "\n";
          MINKE_TRY(append(std::as_bytes(std::span(line))));
        }
      return {};
    });
    MINKE_TRY(written);
    result[file.name] = lines;
  }
  return result;
}

}  // namespace minke
