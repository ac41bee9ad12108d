#include "minke/train/checkpoint.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>
#include <vector>

#include "minke/base/file.h"
#include "minke/tensor/safetensors.h"
#include "minke/train/finite.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostStateBytes = int64_t{64} << 20;
constexpr size_t kKept = 2;  // checkpoints of a run
constexpr int64_t kPollMs = 10;

constexpr std::string_view kStep = "step-", kPartial = ".partial";

std::string StepName(int64_t step) { return fmt::format("{}{:08}", kStep, step); }

// A rename is on disk when its folder is.
void SyncFolder(const fs::path& path) {
  if (const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); fd >= 0) {
    ::fsync(fd);
    ::close(fd);
  }
}

Status WriteText(const fs::path& path, const std::string& text) {
  return WriteFileAtomic(path.string(), std::as_bytes(std::span(text)));
}

Status WriteModelFiles(const fs::path& folder, Parameters& parameters, ModelFiles files) {
  std::vector<TensorToWrite> tensors;
  const std::string mtp = fmt::format("model.layers.{}.", parameters.model()->config().num_hidden_layers);
  bool own_embedding = false, own_head = false;
  const Parameter *embedding = nullptr, *head = nullptr;
  const auto add = [&](const std::string& name, const Parameter& p) {
    tensors.push_back({name, DType::kF32, p.shape, std::as_bytes(parameters.values_of(p))});
  };
  for (const Parameter& p : parameters.list()) {
    add(p.name, p);
    if (p.name == "model.embed_tokens.weight") embedding = &p;
    if (p.name == "lm_head.weight") head = &p;
    own_embedding |= p.name == mtp + "embed_tokens.weight";
    own_head |= p.name == mtp + "shared_head.head.weight";
  }
  if (parameters.model()->has_mtp()) {
    if (!own_embedding) add(mtp + "embed_tokens.weight", *embedding);
    if (!own_head) add(mtp + "shared_head.head.weight", head ? *head : *embedding);
  }
  files.config.erase("quantization_config");
  const bool newer = files.config.contains("dtype");  // of torch_dtype's two names
  files.config[newer ? "dtype" : "torch_dtype"] = "float32";
  MINKE_TRY(WriteSafetensors((folder / "model.safetensors").string(), tensors));
  if (!files.folder.empty()) MINKE_TRY(CopySideFiles(files.folder, folder.string()));
  for (const auto& [name, text] : files.texts) MINKE_TRY(WriteText(folder / name, text));
  return WriteText(folder / "config.json", DumpJson(files.config) + "\n");
}

std::string PartialName(const fs::path& folder) { return folder.string() + std::string(kPartial); }

// Makes `folder` anew, whole or not at all: `fill` writes into a folder beside it.
template <class F>
Status MakeFolder(const fs::path& folder, F&& fill) {
  std::error_code error;
  const fs::path partial = PartialName(folder);
  fs::remove_all(partial, error);
  fs::create_directories(partial, error);
  if (error) return Fail(Code::kFailed, "{}: cannot be made: {}", partial.string(), error.message());
  if (const Status filled = fill(partial); !filled) {
    fs::remove_all(partial, error);
    return filled;
  }
  SyncFolder(partial);
  fs::remove_all(folder, error);  // of an earlier try
  fs::rename(partial, folder, error);
  if (error) return Fail(Code::kFailed, "{}: cannot get its name: {}", folder.string(), error.message());
  SyncFolder(folder.parent_path());
  return {};
}

bool IsNumber(std::string_view text) { return !text.empty() && text.find_first_not_of("0123456789") == text.npos; }

// Checkpoints of a run: whole ones, oldest first, and those that were being made or removed.
struct Found {
  std::vector<fs::path> whole, partial;
};
Found FindCheckpoints(const fs::path& run) {
  Found found;
  std::error_code error;
  for (fs::directory_iterator it(run, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const std::string_view number = std::string_view(name).substr(std::min(name.size(), kStep.size()));
    if (!name.starts_with(kStep)) continue;
    if (number.ends_with(kPartial) && IsNumber(number.substr(0, number.size() - kPartial.size()))) {
      found.partial.push_back(it->path());
    } else if (IsNumber(number) && fs::exists(it->path() / "training.json", error)) {
      found.whole.push_back(it->path());
    }
  }
  std::ranges::sort(found.whole);
  return found;
}

Status CopyTensor(const TensorFile& file, const std::string& name, const std::vector<int64_t>& shape,
                  std::span<float> to, const fs::path& path) {
  const TensorRef* found = file.Find(name);
  if (!found || found->dtype != DType::kF32 || found->shape != shape)
    return Fail(Code::kCannotResume,
                "{}: tensor {} is missing, or is not F32 of shape {}: the run was of a model of another shape",
                path.string(), name, ShapeText(shape));
  std::memcpy(to.data(), found->bytes.data(), to.size_bytes());
  return {};
}

Result<Json> ReadTrainingJson(const fs::path& path) {
  MINKE_ASSIGN(const std::string text, ReadFile(path.string(), kMostStateBytes));
  MINKE_ASSIGN(Json json, ParseJson(text, path.string()));
  if (json.is_object() && json.value("version", Json()) != 1)
    return Fail(Code::kCannotResume, "{}: was written by another version of minke, go on with that one", path.string());
  const auto steps = json.is_object() ? json.find("optimizer_steps") : json.end();
  if (steps == json.end() || !steps->is_object() || !json.contains("state") || !(*steps)["model"].is_number_integer() ||
      !(*steps)["indexer"].is_number_integer())
    return Fail(Code::kDamaged, "{}: is no state of a training run", path.string());
  return json;
}

Status LoadTensors(const fs::path& path, Parameters& parameters, AdamW& optimizer) {
  MINKE_ASSIGN(const auto model, OpenSafetensors((path / "model.safetensors").string()));
  for (const Parameter& p : parameters.list())
    MINKE_TRY(CopyTensor(*model, p.name, p.shape, parameters.values_of(p), path / "model.safetensors"));
  MINKE_ASSIGN(const auto moments, OpenSafetensors((path / "training.safetensors").string()));
  const std::vector<int64_t> shape = {std::ssize(optimizer.mean())};
  MINKE_TRY(CopyTensor(*moments, "mean", shape, optimizer.mean(), path / "training.safetensors"));
  MINKE_TRY(CopyTensor(*moments, "square", shape, optimizer.square(), path / "training.safetensors"));
  return {};
}

// An error of reading a checkpoint, with what the user can do about it.
tl::unexpected<Error> Unreadable(const fs::path& folder, const Error& error) {
  if (error.code != Code::kDamaged) return Fail(error);
  const bool only = FindCheckpoints(folder.parent_path()).whole.size() < 2;
  return Fail(error.code, "{}; remove {} to {}", error.message, folder.string(),
              only ? "begin anew" : "go on from the checkpoint before it");
}

}  // namespace

Result<RunLock> RunLock::Take(const std::string& run, int64_t patience_ms) {
  std::error_code error;
  fs::create_directories(run, error);
  if (error) return Fail(Code::kFailed, "{}: cannot be made: {}", run, error.message());
  const std::string path = run + "/lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return Fail(Code::kFailed, "{}: cannot be opened: {}", path, std::strerror(errno));
  for (int64_t waited = 0;; waited += kPollMs) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return RunLock(fd);
    if (waited >= patience_ms) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
  }
  ::close(fd);
  return Fail(Code::kFailed, "{}: another run is writing there; wait for it, or choose another out", run);
}

RunLock::~RunLock() {
  if (fd_ >= 0) ::close(fd_);
}

Status CheckSameRun(const Json& found, const Json& wanted, const std::string& folder) {
  if (found == wanted) return {};
  std::string which = "a key more";
  if (found.is_object()) {
    for (const auto& [key, value] : wanted.items()) {
      if (found.contains(key) && found[key] == value) continue;
      which = key;
      break;
    }
  }
  return Fail(Code::kCannotResume,
              "{}: was made with another configuration ({} differs); finish with that one, or choose another out",
              folder, which);
}

Status SaveTraining(const std::string& run, int64_t step, Parameters& parameters, AdamW& optimizer,
                    const ModelFiles& files, const Json& state) {
  const fs::path folder = fs::path(run) / StepName(step);
  if (const std::string broken = BrokenTensor(parameters, parameters.values()); !broken.empty())
    return Fail(Code::kFailed,
                "step {}: the weights of {} are not finite, and no checkpoint is written; the last one is as it was",
                step, broken);
  const auto fill = [&](const fs::path& partial) -> Status {
    MINKE_TRY(WriteModelFiles(partial, parameters, files));
    const auto size = std::ssize(optimizer.mean());
    const TensorToWrite moments[] = {
        {"mean", DType::kF32, {size}, std::as_bytes(optimizer.mean())},
        {"square", DType::kF32, {size}, std::as_bytes(optimizer.square())},
    };
    MINKE_TRY(WriteSafetensors((partial / "training.safetensors").string(), moments));
    const Json json = {{"version", 1},
                       {"step", step},
                       {"optimizer_steps", {{"model", optimizer.steps.model}, {"indexer", optimizer.steps.indexer}}},
                       {"state", state}};
    return WriteText(partial / "training.json", DumpJson(json) + "\n");
  };
  MINKE_TRY(MakeFolder(folder, fill));
  RemoveOldTraining(run);
  return {};
}

Status SaveModel(const std::string& folder, Parameters& parameters, const ModelFiles& files) {
  return MakeFolder(folder, [&](const fs::path& partial) { return WriteModelFiles(partial, parameters, files); });
}

std::optional<std::string> LatestTraining(const std::string& run) {
  const auto found = FindCheckpoints(run).whole;
  if (found.empty()) return std::nullopt;
  return found.back().string();
}

void RemoveOldTraining(const std::string& run) {
  const Found found = FindCheckpoints(run);
  std::error_code error;
  for (const fs::path& folder : found.partial) fs::remove_all(folder, error);
  for (size_t i = 0; i + kKept < found.whole.size(); ++i) {
    fs::rename(found.whole[i], PartialName(found.whole[i]), error);  // whole or not there, however this ends
    fs::remove_all(PartialName(found.whole[i]), error);
  }
}

Result<Json> LoadTraining(const std::string& folder, Parameters& parameters, AdamW& optimizer,
                          const std::function<Status(const Json& state)>& check) {
  auto json = ReadTrainingJson(fs::path(folder) / "training.json");
  if (!json) return Unreadable(folder, json.error());
  MINKE_TRY(check((*json)["state"]));
  if (const Status loaded = LoadTensors(folder, parameters, optimizer); !loaded)
    return Unreadable(folder, loaded.error());
  Json& steps = (*json)["optimizer_steps"];
  optimizer.steps = {steps["model"], steps["indexer"]};
  parameters.Publish();
  return (*json)["state"];
}

}  // namespace minke
