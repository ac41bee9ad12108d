#include "minke/tensor/checkpoint.h"

#include <filesystem>

#include "minke/base/json.h"
#include "minke/tensor/safetensors.h"
#include "minke/tensor/safetensors_header.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxIndexBytes = 100'000'000;  // DeepSeek-V3.2's has about 10 MB

// A shard named by the index must lie in the checkpoint's folder. Only the name is judged: a symbolic link may point
// anywhere, as the hub's cache does.
bool StaysInside(const std::string& name) {
  if (name.empty() || name.find('\0') != std::string::npos) return false;
  const fs::path path(name);
  if (path.is_absolute()) return false;
  for (const fs::path& part : path)
    if (part == "..") return false;
  return true;
}

bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

struct Index {
  std::map<std::string, int> shard_of;  // tensor -> place in shards
  std::vector<std::string> shards;      // names as written, sorted
};

Result<Index> ReadIndex(const std::string& path) {
  MINKE_ASSIGN(const std::string text, ReadFile(path, kMaxIndexBytes));
  MINKE_ASSIGN(const Json json, ParseJson(text, path));
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (map == json.end() || !map->is_object()) return Fail(Code::kDamaged, "{}: has no object \"weight_map\"", path);
  Index index;
  std::map<std::string, int> place;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string())
      return Fail(Code::kDamaged, "{}: weight_map: the file of tensor {} is not a string", path,
                  NameForMessage(tensor));
    const auto& name = shard.get_ref<const std::string&>();
    if (!StaysInside(name))
      return Fail(Code::kDamaged, "{}: weight_map: tensor {} is in \"{}\", which is not inside the folder", path,
                  NameForMessage(tensor), NameForMessage(name));
    place.emplace(name, 0);
  }
  for (auto& [name, at] : place) {
    at = static_cast<int>(index.shards.size());
    index.shards.push_back(name);
  }
  for (const auto& [tensor, shard] : map->items())
    index.shard_of.emplace(tensor, place.find(shard.get_ref<const std::string&>())->second);
  return index;
}

// The file that says what the checkpoint holds: one safetensors file, or an index.
Result<fs::path> FindEntry(const fs::path& path) {
  std::error_code ignored;
  if (!Exists(path)) return Fail(Code::kNotFound, "{}: no such file or folder", path.string());
  if (!fs::is_directory(path, ignored)) return path;
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"})
    if (Exists(path / name)) return path / name;
  return Fail(Code::kNotFound, "{}: holds neither model.safetensors nor model.safetensors.index.json", path.string());
}

}  // namespace

Result<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& path) {
  MINKE_ASSIGN(const fs::path entry, FindEntry(path));
  auto checkpoint = std::make_unique<Checkpoint>();
  checkpoint->path_ = entry.string();
  const auto add = [&](const std::string& file_path) -> Status {
    MINKE_ASSIGN(auto file, OpenSafetensors(file_path));
    return checkpoint->Add(std::move(file));
  };
  if (entry.extension() != ".json") {
    MINKE_TRY(add(entry.string()));
    return checkpoint;
  }

  MINKE_ASSIGN(const Index index, ReadIndex(entry.string()));
  if (index.shards.empty()) return Fail(Code::kDamaged, "{}: weight_map is empty", entry.string());
  for (const std::string& shard : index.shards) {
    const fs::path shard_path = entry.parent_path() / shard;
    std::error_code ignored;
    if (!fs::is_regular_file(shard_path, ignored))
      return Fail(Code::kDamaged, "{}: names the file {}, which is missing or no file", entry.string(),
                  NameForMessage(shard));
    MINKE_TRY(add(shard_path.string()));
  }
  for (const auto& [name, shard] : index.shard_of) {
    const auto found = checkpoint->tensors_.find(name);
    if (found == checkpoint->tensors_.end() || found->second.second != shard)
      return Fail(Code::kDamaged, "{}: weight_map: tensor {} is not in {}", entry.string(), NameForMessage(name),
                  NameForMessage(index.shards[static_cast<size_t>(shard)]));
  }
  return checkpoint;
}

Result<std::unique_ptr<Checkpoint>> Checkpoint::Of(std::string path, std::vector<std::unique_ptr<TensorFile>> files) {
  auto checkpoint = std::make_unique<Checkpoint>();
  checkpoint->path_ = std::move(path);
  for (auto& file : files) MINKE_TRY(checkpoint->Add(std::move(file)));
  return checkpoint;
}

Status Checkpoint::Add(std::unique_ptr<TensorFile> added) {
  const int number = static_cast<int>(files_.size());
  files_.push_back(std::move(added));
  const TensorFile& file = *files_.back();
  for (const auto& [name, tensor] : file.tensors()) {
    // The format allows it, but no weight is empty.
    if (tensor.bytes.empty())
      return Fail(Code::kDamaged, "{}: tensor {} has the shape {}, so it holds nothing", file.file().path(),
                  NameForMessage(name), ShapeText(tensor.shape));
    const auto [place, is_new] = tensors_.emplace(name, std::pair(&tensor, number));
    if (!is_new)
      return Fail(Code::kDamaged, "{}: tensor {} is also in {}", file.file().path(), NameForMessage(name),
                  FileOf(name));
  }
  return {};
}

const TensorRef* Checkpoint::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second.first;
}

std::vector<std::string> Checkpoint::Names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, place] : tensors_) names.push_back(name);
  return names;
}

const std::string& Checkpoint::FileOf(std::string_view name) const {
  static const std::string kNone;
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? kNone : files_[static_cast<size_t>(found->second.second)]->file().path();
}

int64_t Checkpoint::total_bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, place] : tensors_) bytes += static_cast<int64_t>(place.first->bytes.size());
  return bytes;
}

int64_t Checkpoint::owned_bytes() const {
  int64_t bytes = 0;
  for (const auto& file : files_) bytes += file->owned_bytes();
  return bytes;
}

Checkpoint::Place Checkpoint::PlaceOf(const void* byte) const {
  const auto address = reinterpret_cast<uintptr_t>(byte);
  for (size_t i = 0; i < files_.size(); ++i) {
    const std::span<const std::byte> bytes = files_[i]->file().bytes();
    const auto begin = reinterpret_cast<uintptr_t>(bytes.data());
    if (address >= begin && address < begin + bytes.size())
      return {static_cast<int>(i), static_cast<int64_t>(address - begin)};
  }
  return {};
}

Status Checkpoint::Health() const {
  for (const auto& file : files_) MINKE_TRY(file->file().Health());
  return {};
}

}  // namespace minke
