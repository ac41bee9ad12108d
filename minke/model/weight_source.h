// Where weights are while the model runs: in the mapped files, or read into memory of our own; all of them, or all but
// the routed experts, which are then read when a token asks for them (expert_cache.h).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "minke/base/file_reader.h"
#include "minke/base/page_memory.h"
#include "minke/model/model.h"
#include "minke/model/weights.h"

namespace minke {

// One routed expert in the files: runs of whole blocks that its matrices lie in, mostly a single one, and the matrices'
// places in the slot that holds these runs one behind the other.
struct ExpertPlace {
  struct Run {
    int file = 0;
    int64_t offset = 0, bytes = 0;  // multiples of FileReader::kAlign; 0 bytes: unused
  };
  std::array<Run, 3> runs;
  std::array<int64_t, 3> matrix{};  // gate_proj, up_proj, down_proj: bytes from the start of the slot

  int64_t bytes() const { return runs[0].bytes + runs[1].bytes + runs[2].bytes; }
};

class WeightSource {
 public:
  // Reads what `options` want in memory and turns the views of `weights` there. Block scales of experts come too: they
  // are a thousandth of the codes. `owned_bytes` of weights are in private memory already. Errors: kNoMemory, before
  // memory is taken, when a limit does not hold what always stays; those of reading.
  static Result<std::unique_ptr<WeightSource>> Create(const ModelOptions& options, const ModelConfig& config,
                                                      const Checkpoint& checkpoint, int64_t owned_bytes,
                                                      ModelWeights& weights);

  FileReader& reader() { return *reader_; }
  int64_t resident_bytes() const { return resident_bytes_; }
  HugePages huge_pages() const { return huge_pages_; }
  bool streams_experts() const { return !places_.empty(); }
  // Of expert e of a layer; `experts_per_layer` is 0 where nothing streams.
  const ExpertPlace& place(int64_t layer, int64_t e) const {
    return places_[static_cast<size_t>(layer * experts_per_layer_ + e)];
  }
  int64_t num_layers() const { return std::ssize(places_) / std::max<int64_t>(1, experts_per_layer_); }
  int64_t experts_per_layer() const { return experts_per_layer_; }
  int64_t num_experts() const { return num_experts_; }  // of all layers together
  int64_t slot_bytes() const { return slot_bytes_; }    // what the largest expert takes
  // A token's experts in one layer, and as many that are read meanwhile. 0 where nothing streams.
  int64_t least_expert_bytes() const { return least_expert_bytes_; }

 private:
  WeightSource() = default;
  void FindExperts(const ModelConfig& config, const Checkpoint& checkpoint, const ModelWeights& weights);
  Status ReadResident(const ModelOptions& options, const ModelConfig& config, const Checkpoint& checkpoint,
                      int64_t owned_bytes, ModelWeights& weights);

  std::unique_ptr<FileReader> reader_;
  PageMemory memory_;
  HugePages huge_pages_ = HugePages::kOff;
  int64_t resident_bytes_ = 0, experts_per_layer_ = 0, num_experts_ = 0, slot_bytes_ = 0;
  int64_t least_expert_bytes_ = 0;
  std::vector<ExpertPlace> places_;  // [layers, experts_per_layer]; of dense layers all zeros
};

}  // namespace minke
