#include "minke/model/weight_source.h"

#include <algorithm>
#include <cmath>

#include "minke/base/available_memory.h"
#include "minke/base/check.h"

namespace minke {
namespace {

constexpr int64_t kAlign = FileReader::kAlign;
// Runs so near to each other are read as one: a norm between two matrices costs less than another read.
constexpr int64_t kSmallGap = 16 << 10;

double Megabytes(int64_t bytes) { return static_cast<double>(bytes) / 1e6; }
int64_t RoundDown(int64_t bytes) { return bytes / kAlign * kAlign; }
int64_t RoundUp(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

template <class F>
struct MatrixWalk {
  F& f;
  void Matrix(const std::string& name, WeightView& view, int64_t, int64_t) {
    f(view, name.starts_with("mlp.experts."));
  }
  void Vector(const std::string&, const std::vector<float>&, int64_t) {}
};

// Calls f(view, is_expert) for every matrix, tied ones as often as they are named.
template <class F>
void ForEachMatrix(const ModelConfig& config, ModelWeights& weights, F&& f) {
  f(weights.embed_tokens, false);
  f(weights.lm_head, false);
  for (size_t i = 0; i < weights.layers.size(); ++i)
    weights.layers[i].ForEachTensor(config, static_cast<int64_t>(i), MatrixWalk<F>{f});
  if (!weights.mtp) return;
  for (WeightView* view : {&weights.mtp->embed_tokens, &weights.mtp->eh_proj, &weights.mtp->head}) f(*view, false);
}

// Bytes of one file that are wanted, and where they go.
struct Run {
  int file = 0;
  int64_t begin = 0, end = 0;
  int64_t at = 0;  // in the memory
};

}  // namespace

Result<std::unique_ptr<WeightSource>> WeightSource::Create(const ModelOptions& options, const ModelConfig& config,
                                                           const Checkpoint& checkpoint, int64_t owned_bytes,
                                                           ModelWeights& weights) {
  auto source = std::unique_ptr<WeightSource>(new WeightSource);
  source->huge_pages_ = options.huge_pages;
  std::vector<std::string> paths;
  for (const auto& file : checkpoint.files()) paths.push_back(file->file().path());
  const auto mode = options.load == Load::kRead ? FileReader::Mode::kBuffered : FileReader::Mode::kDirect;
  MINKE_ASSIGN(source->reader_, FileReader::Create(paths, mode));
  if (options.memory_bytes > 0) source->FindExperts(config, checkpoint, weights);
  MINKE_TRY(source->ReadResident(options, config, checkpoint, owned_bytes, weights));
  return source;
}

void WeightSource::FindExperts(const ModelConfig& config, const Checkpoint& checkpoint, const ModelWeights& weights) {
  for (const LayerWeights& layer : weights.layers)
    experts_per_layer_ = std::max(experts_per_layer_, std::ssize(layer.experts));
  for (const LayerWeights& layer : weights.layers) {
    const size_t first = places_.size();
    places_.resize(first + static_cast<size_t>(experts_per_layer_));
    num_experts_ += std::ssize(layer.experts);
    for (size_t e = 0; e < layer.experts.size(); ++e) {
      const MlpWeights& w = layer.experts[e];
      const std::array<const WeightView*, 3> views = {&w.gate_proj, &w.up_proj, &w.down_proj};
      std::array<Checkpoint::Place, 3> at;
      std::array<size_t, 3> order = {0, 1, 2};
      for (size_t i = 0; i < 3; ++i) at[i] = checkpoint.PlaceOf(views[i]->data);
      std::ranges::sort(order, {}, [&](size_t i) { return std::pair(at[i].file, at[i].offset); });
      ExpertPlace& place = places_[first + e];
      int64_t used = 0;  // bytes of the slot
      size_t run = 0;
      for (const size_t i : order) {
        const int64_t begin = RoundDown(at[i].offset), end = RoundUp(at[i].offset + views[i]->data_bytes());
        ExpertPlace::Run* last = run > 0 ? &place.runs[run - 1] : nullptr;
        if (last && last->file == at[i].file && begin <= last->offset + last->bytes + kSmallGap) {
          place.matrix[i] = used - last->bytes + at[i].offset - last->offset;
          const int64_t grown = std::max(end - last->offset, last->bytes);
          used += grown - last->bytes;
          last->bytes = grown;
        } else {
          place.runs[run++] = {at[i].file, begin, end - begin};
          place.matrix[i] = used + at[i].offset - begin;
          used += end - begin;
        }
      }
      slot_bytes_ = std::max(slot_bytes_, used);
    }
  }
  least_expert_bytes_ = slot_bytes_ * std::min(2 * config.num_experts_per_tok, num_experts_);
}

Status WeightSource::ReadResident(const ModelOptions& options, const ModelConfig& config, const Checkpoint& checkpoint,
                                  int64_t owned_bytes, ModelWeights& weights) {
  std::vector<Run> runs;
  const auto want = [&](const void* data, int64_t bytes) {
    if (!data || bytes == 0) return;
    const Checkpoint::Place place = checkpoint.PlaceOf(data);
    if (place.file >= 0) runs.push_back({place.file, RoundDown(place.offset), RoundUp(place.offset + bytes)});
  };
  ForEachMatrix(config, weights, [&](const WeightView& view, bool is_expert) {
    if (!is_expert || !streams_experts()) want(view.data, view.data_bytes());
    want(view.scales, view.scale_bytes());
  });
  std::ranges::sort(runs, {}, [](const Run& run) { return std::pair(run.file, run.begin); });
  std::vector<Run> merged;
  for (const Run& run : runs) {
    if (!merged.empty() && merged.back().file == run.file && run.begin <= merged.back().end + kSmallGap) {
      merged.back().end = std::max(merged.back().end, run.end);
    } else {
      merged.push_back(run);
    }
  }
  for (Run& run : merged) {
    run.at = resident_bytes_;
    resident_bytes_ += run.end - run.begin;
  }
  const int64_t least = resident_bytes_ + owned_bytes + least_expert_bytes_;
  if (options.memory_bytes > 0 && options.memory_bytes < least)
    return Fail(Code::kNoMemory,
                "{}: --memory {:.2f} MB is not enough: weights of every token take {:.2f} MB and experts at least "
                "{:.2f}, cache and activations come to them: give more than {:.2f} MB",
                checkpoint.path(), Megabytes(options.memory_bytes), Megabytes(resident_bytes_ + owned_bytes),
                Megabytes(least_expert_bytes_), std::ceil(Megabytes(least) * 100) / 100);
  if (const int64_t available = AvailableMemoryBytes(); resident_bytes_ > available)
    return Fail(Code::kNoMemory, "{}: {} MiB of weights are to be read into memory, {} MiB are available: {}",
                checkpoint.path(), resident_bytes_ >> 20, available >> 20,
                streams_experts() ? "this model needs a larger machine" : "use --memory SIZE or --load mmap");
  MINKE_ASSIGN(memory_, PageMemory::Take(resident_bytes_, huge_pages_));

  std::vector<FileReader::Job> jobs(merged.size());
  reader_->Reserve(std::ssize(jobs));
  for (size_t i = 0; i < jobs.size(); ++i) {
    jobs[i].file = merged[i].file;
    jobs[i].offset = merged[i].begin, jobs[i].bytes = merged[i].end - merged[i].begin;
    jobs[i].to = memory_.data() + merged[i].at;
    reader_->Start(jobs[i], /*urgent=*/true);
  }
  for (const FileReader::Job& job : jobs) reader_->Wait(job);
  MINKE_TRY(reader_->Health());

  const auto moved = [&](const void* data) -> const void* {
    const Checkpoint::Place place = checkpoint.PlaceOf(data);
    if (place.file < 0) return data;  // nothing, or scales that were converted
    const auto after = std::ranges::upper_bound(merged, std::pair(place.file, place.offset), {},
                                                [](const Run& run) { return std::pair(run.file, run.begin); });
    const Run& run = *std::prev(after);
    MINKE_CHECK(place.offset < run.end);
    return memory_.data() + run.at + (place.offset - run.begin);
  };
  ForEachMatrix(config, weights, [&](WeightView& view, bool is_expert) {
    if (!is_expert || !streams_experts()) view.data = moved(view.data);
    view.scales = static_cast<const float*>(moved(view.scales));
  });
  for (const auto& file : checkpoint.files()) file->file().LetGo();
  return {};
}

}  // namespace minke
