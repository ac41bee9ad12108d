#include "minke/model/checkpoint_writer.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <deque>
#include <filesystem>
#include <set>

#include "minke/base/file.h"
#include "minke/model/weights.h"
#include "minke/tensor/block.h"
#include "minke/tensor/checkpoint.h"
#include "minke/tensor/encode.h"
#include "minke/tensor/quantize.h"
#include "minke/tensor/safetensors.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr int64_t kMaxRecordBytes = int64_t{1} << 30;
constexpr int64_t kMaxSideFileBytes = int64_t{64} << 20;  // tokenizer.json of the released models: 8 MB

std::string_view TypeName(DType type) { return type == DType::kQ8 ? "q8" : type == DType::kQ6 ? "q6" : "q4"; }

// One matrix in tiles, with the memory that holds it.
struct Tiles {
  std::vector<uint8_t> bytes;
  std::vector<float> row_scales;
  QuantizationError error;
};

void QuantizeMatrix(DType type, const WeightView& w, const KernelSet& kernels, ThreadPool& pool, Tiles& tiles) {
  const int64_t row_tiles = RowTiles(w.rows), row_tile_bytes = ColTiles(w.cols) * TileBytes(type);
  tiles.bytes.resize(static_cast<size_t>(row_tiles * row_tile_bytes));
  tiles.row_scales.resize(static_cast<size_t>(row_tiles * kRowScalesOfTile));
  std::vector<QuantizationError> errors(static_cast<size_t>(row_tiles));
  pool.ForRanges(row_tiles, 1, [&](int64_t begin, int64_t end, int) {
    std::vector<float> rows(static_cast<size_t>(kTileRows * w.cols));
    for (int64_t t = begin; t < end; ++t) {
      const int64_t first = t * kTileRows, count = std::min(kTileRows, w.rows - first);
      for (int64_t r = 0; r < count; ++r) kernels.dequantize_row(w, first + r, rows.data() + r * w.cols);
      QuantizeRowTile(
          type, rows.data(), count, w.cols,
          std::span(tiles.bytes).subspan(static_cast<size_t>(t * row_tile_bytes), static_cast<size_t>(row_tile_bytes)),
          std::span<float, kRowScalesOfTile>(tiles.row_scales.data() + t * kRowScalesOfTile,
                                             static_cast<size_t>(kRowScalesOfTile)),
          errors[static_cast<size_t>(t)]);
    }
  });
  for (const QuantizationError& e : errors) {  // in order, whatever the threads did
    tiles.error.error += e.error;
    tiles.error.weights += e.weights;
  }
}

std::string ShardName(size_t shard, size_t shards) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards);
}

// What tells one model from another of the same shape: place, size and time of change of each file.
Json FilesOf(const Checkpoint& checkpoint) {
  Json files = Json::object();
  for (const auto& file : checkpoint.files()) {
    std::error_code error;
    const fs::path given = file->file().path(), path = fs::canonical(given, error);
    const auto changed = fs::last_write_time(given, error).time_since_epoch();
    files[given.filename().string()] = {
        {"path", path.string()},
        {"bytes", file->file().bytes().size()},
        {"changed", fmt::format("{}", std::chrono::duration_cast<std::chrono::nanoseconds>(changed).count())}};
  }
  return files;
}

// The kinds that readers of a record rely on.
bool IsTensorRecord(const Json& tensor) {
  const auto has = [&](const char* key, bool (Json::*is)() const) {
    return tensor.is_object() && tensor.contains(key) && (tensor[key].*is)();
  };
  return has("name", &Json::is_string) && has("type", &Json::is_string) && has("bytes", &Json::is_number_integer) &&
         has("relative_rms", &Json::is_number) && has("shape", &Json::is_array) && tensor["shape"].size() == 2 &&
         tensor["shape"][0].is_number_integer() && tensor["shape"][1].is_number_integer();
}
bool IsShardRecord(const Json& shard) {
  return shard.is_object() && shard.contains("file") && shard["file"].is_string() && shard.contains("tensors") &&
         shard["tensors"].is_array() && std::ranges::all_of(shard["tensors"], IsTensorRecord);
}

// The record in `partial` if it is of the same work, else `record`: all but the shards done must agree.
Result<Json> Resume(const fs::path& path, Json record) {
  std::error_code error;
  if (!fs::exists(path, error)) return record;
  MINKE_ASSIGN(const std::string text, ReadFile(path.string(), kMaxRecordBytes));
  const auto parsed = ParseJson(text, path.string());
  if (!parsed) return Fail(Code::kCannotResume, "{}; remove {}", parsed.error().message, path.parent_path().string());
  const Json& found = *parsed;
  bool same = found.is_object() && found.contains("shards") && found["shards"].is_array();
  for (const auto& [key, value] : record.items())
    same = same && (key == "shards" || (found.contains(key) && found[key] == value));
  if (!same)
    return Fail(
        Code::kCannotResume,
        "{}: is of another quantization or conversion, or its source has changed; finish that one, or remove {}",
        path.string(), path.parent_path().string());
  if (!std::ranges::all_of(found["shards"], IsShardRecord))
    return Fail(Code::kCannotResume, "{}: is damaged: not every shard is a file with tensors; remove {}", path.string(),
                path.parent_path().string());
  return found;
}

Status WriteText(const fs::path& path, const std::string& text) {
  return WriteFileAtomic(path.string(), std::as_bytes(std::span(text)));
}

tl::unexpected<Error> NotFinite(const Model& model, const std::string& name) {
  return Fail(Code::kDamaged, "{}: tensor {} holds values that are not finite, or too large",
              model.checkpoint().FileOf(name), name);
}

// Writes one shard and returns its part of the record.
Result<Json> WriteShard(const fs::path& path, const std::vector<PlannedTensor>& shard, const Model& model,
                        const KernelSet& kernels, ThreadPool& pool, const std::function<void(int64_t)>& wrote) {
  std::deque<Tiles> tiles;
  std::deque<std::vector<std::byte>> plain;
  std::vector<TensorToWrite> to_write;
  Json tensors = Json::array();
  for (const PlannedTensor& tensor : shard) {
    if (!tensor.type) {
      const TensorRef& stored = *model.checkpoint().Find(tensor.name);
      to_write.push_back({tensor.name, stored.dtype, stored.shape, stored.bytes});
      wrote(tensor.bytes);
      continue;
    }
    const WeightView& w = tensor.source;
    if (!IsTiled(*tensor.type)) {
      std::vector<std::byte>& bytes = plain.emplace_back();
      if (!EncodeMatrix(w, *tensor.type, kernels, pool, bytes)) return NotFinite(model, tensor.name);
      to_write.push_back({tensor.name, *tensor.type, {w.rows, w.cols}, bytes});
      wrote(tensor.bytes);
      continue;
    }
    Tiles& t = tiles.emplace_back();
    QuantizeMatrix(*tensor.type, w, kernels, pool, t);
    if (!std::isfinite(t.error.weights)) return NotFinite(model, tensor.name);
    to_write.push_back({tensor.name,
                        DType::kU8,
                        {RowTiles(w.rows), ColTiles(w.cols), TileBytes(*tensor.type)},
                        std::as_bytes(std::span(t.bytes))});
    if (HasMinimum(*tensor.type))
      to_write.push_back({tensor.name + std::string(kRowScalesSuffix),
                          DType::kF32,
                          {RowTiles(w.rows), 2, kTileRows},
                          std::as_bytes(std::span(t.row_scales))});
    tensors.push_back({{"name", tensor.name},
                       {"shape", {w.rows, w.cols}},
                       {"type", DTypeName(*tensor.type)},
                       {"bytes", tensor.bytes},
                       {"relative_rms", t.error.relative_rms()}});
    wrote(tensor.bytes);
  }
  MINKE_TRY(model.Health());  // zeros from a file that failed must not be written as weights
  MINKE_TRY(WriteSafetensors(path.string(), to_write));
  return Json{{"file", path.filename().string()}, {"tensors", std::move(tensors)}};
}

// Names of a planned shard's tensors as the file has them.
std::set<std::string, std::less<>> NamesOf(const std::vector<PlannedTensor>& shard) {
  std::set<std::string, std::less<>> names;
  for (const PlannedTensor& tensor : shard) {
    names.insert(tensor.name);
    if (tensor.type && HasMinimum(*tensor.type)) names.insert(tensor.name + std::string(kRowScalesSuffix));
  }
  return names;
}

// A shard that the record calls done holds what the plan puts there.
Status CheckShard(const fs::path& path, const std::vector<PlannedTensor>& shard) {
  const auto file = OpenSafetensors(path.string());
  std::set<std::string, std::less<>> found;
  if (file)
    for (const auto& entry : (*file)->tensors()) found.insert(entry.first);
  if (file && found == NamesOf(shard)) return {};
  return Fail(Code::kCannotResume, "{}: does not hold the tensors that belong in it; remove {}", path.string(),
              path.parent_path().string());
}

Status WriteIndex(const fs::path& to, const WritePlan& plan) {
  Json map = Json::object();
  for (size_t i = 0; i < plan.shards.size(); ++i)
    for (const std::string& name : NamesOf(plan.shards[i])) map[name] = ShardName(i, plan.shards.size());
  const Json index = {{"metadata", {{"total_size", plan.bytes}}}, {"weight_map", std::move(map)}};
  return WriteText(to, DumpJson(index) + "\n");
}

// Tokenizer, templates, licences: every small file that is neither weights nor written anew.
}  // namespace

Status CopySideFiles(const std::string& from, const std::string& to) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(from, error)) {
    const fs::path name = entry.path().filename();
    const std::string extension = name.extension().string();
    const bool weights =
        extension == ".safetensors" || extension == ".bin" || extension == ".pt" || extension == ".gguf";
    if (weights || name == "config.json" || name == kIndex || name == "quantize.json" || name == "convert.json" ||
        name == "training.json" || !entry.is_regular_file(error) ||
        entry.file_size(error) > static_cast<uintmax_t>(kMaxSideFileBytes))
      continue;
    MINKE_ASSIGN(const std::string text, ReadFile(entry.path().string(), kMaxSideFileBytes));
    MINKE_TRY(WriteText(fs::path(to) / name, text));
  }
  if (error) return Fail(Code::kFailed, "{}: cannot be listed: {}", from, error.message());
  return {};
}

bool EncodeMatrix(const WeightView& w, DType type, const KernelSet& kernels, ThreadPool& pool,
                  std::vector<std::byte>& out) {
  const int64_t row_bytes = RowBytes(type, w.cols);
  out.resize(static_cast<size_t>(w.rows * row_bytes));
  std::atomic<bool> finite = true;
  const float largest = LargestOf(type);
  pool.ForRanges(w.rows, 1, [&](int64_t begin, int64_t end, int) {
    std::vector<float> row(static_cast<size_t>(w.cols));
    for (int64_t r = begin; r < end; ++r) {
      kernels.dequantize_row(w, r, row.data());
      if (!std::ranges::all_of(row, [&](float value) { return std::fabs(value) <= largest; })) finite = false;
      EncodeRow(type, row, out.data() + r * row_bytes);
    }
  });
  return finite;
}

Result<std::string> PartialName(const std::string& out) {
  std::error_code error;
  const fs::path path = fs::path(out).lexically_normal();
  if (fs::exists(fs::symlink_status(path, error)))
    return Fail(Code::kInvalidArgument, "{}: exists; remove it or choose another name", out);
  return (path.has_filename() ? path : path.parent_path()).string() + ".partial";
}

Result<Json> WriteCheckpoint(const Model& model, const ModelFiles& files, const std::string& out, const WritePlan& plan,
                             const std::string& record_name, Json record, const KernelSet& kernels, ThreadPool& pool,
                             const ProgressFn& progress) {
  std::error_code error;
  MINKE_ASSIGN(const fs::path partial, PartialName(out));
  fs::create_directories(partial, error);
  if (error) return Fail(Code::kFailed, "{}: cannot be made: {}", partial.string(), error.message());
  record["source"] = FilesOf(model.checkpoint());
  record["shards"] = Json::array();
  MINKE_ASSIGN(record, Resume(partial / record_name, std::move(record)));
  const auto done = [&](const std::string& file) {
    for (const Json& shard : record["shards"])
      if (shard["file"] == file) return fs::exists(partial / file, error);
    return false;
  };
  int64_t written = 0;
  const auto wrote = [&](int64_t bytes) {
    written += bytes;
    progress(static_cast<double>(written), static_cast<double>(plan.bytes));
  };
  for (size_t i = 0; i < plan.shards.size(); ++i) {
    const std::string file = ShardName(i, plan.shards.size());
    if (done(file)) {
      MINKE_TRY(CheckShard(partial / file, plan.shards[i]));
      for (const PlannedTensor& tensor : plan.shards[i]) wrote(tensor.bytes);
      continue;
    }
    MINKE_ASSIGN(Json shard, WriteShard(partial / file, plan.shards[i], model, kernels, pool, wrote));
    record["shards"].push_back(std::move(shard));
    MINKE_TRY(WriteText(partial / record_name, DumpJson(record) + "\n"));
  }
  MINKE_TRY(WriteIndex(partial / kIndex, plan));
  MINKE_TRY(WriteText(partial / "config.json", DumpJson(files.config) + "\n"));
  if (!files.folder.empty()) MINKE_TRY(CopySideFiles(files.folder, partial.string()));
  for (const auto& [name, text] : files.texts) MINKE_TRY(WriteText(partial / name, text));
  fs::rename(partial, partial.string().substr(0, partial.string().size() - std::string(".partial").size()), error);
  if (error) return Fail(Code::kFailed, "{}: cannot get the name {}: {}", partial.string(), out, error.message());
  return record;
}

Result<Json> QuantizeCheckpoint(const Model& model, ModelFiles files, const std::string& out,
                                const QuantizeOptions& options, const KernelSet& kernels, ThreadPool& pool,
                                const ProgressFn& progress) {
  MINKE_TRY(PartialName(out));
  if (model.config().has_tiles)
    return Fail(Code::kInvalidArgument, "{}: is quantised already; start from the original", model.checkpoint().path());
  MINKE_TRY(CheckRulesMatch(model, options.rules));
  Json rules = Json::array();
  for (const QuantizeRule& rule : options.rules) rules.push_back(rule.text);
  Json record = {{"version", 2},
                 {"type", TypeName(options.type)},
                 {"rules", std::move(rules)},
                 {"shard_bytes", options.shard_bytes}};
  Json quantization = {{"quant_method", "minke"}};
  const ModelConfig& config = model.config();
  if (config.fp8_block_rows > 0)  // matrices that stay FP8 need it
    quantization["weight_block_size"] = {config.fp8_block_rows, config.fp8_block_cols};
  files.config["quantization_config"] = std::move(quantization);
  return WriteCheckpoint(model, files, out, PlanQuantization(model, options.type, options.rules, options.shard_bytes),
                         "quantize.json", std::move(record), kernels, pool, progress);
}

Result<Json> ConvertCheckpoint(const Model& model, ModelFiles files, const std::string& out,
                               const ConvertOptions& options, const KernelSet& kernels, ThreadPool& pool,
                               const ProgressFn& progress) {
  const WritePlan plan = PlanConversion(model, options.dtype, options.shard_bytes);
  const Json dtype = options.dtype ? Json(DTypeName(*options.dtype)) : Json();
  if (options.dtype) {
    files.config.erase("quantization_config");          // no FP8 and no tiles are left
    const bool newer = files.config.contains("dtype");  // of torch_dtype's two names
    if (newer) files.config.erase("torch_dtype");
    files.config[newer ? "dtype" : "torch_dtype"] = *options.dtype == DType::kF32   ? "float32"
                                                    : *options.dtype == DType::kF16 ? "float16"
                                                                                    : "bfloat16";
  }
  return WriteCheckpoint(model, files, out, plan, "convert.json",
                         {{"version", 2}, {"dtype", dtype}, {"shard_bytes", options.shard_bytes}}, kernels, pool,
                         progress);
}

}  // namespace minke
