#include "minke/model/expert_cache.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "minke/base/check.h"

namespace minke {
namespace {

constexpr double kHalfLife = 16;   // passes
constexpr double kNever = -1e300;  // worth of an expert that was not used yet
// Of all slots, those that may hold guesses at once.
constexpr int64_t kGuessShare = 4;
// Where fewer guesses than this are right, reading them costs more than it saves; tried again now and then.
constexpr double kLeastPrecision = 0.25;
constexpr int64_t kPassesBetweenTries = 32;
constexpr double kPrecisionStep = 1.0 / 256;

}  // namespace

bool ExpertCache::Slot::idle() const {
  for (int i = 0; i < num_jobs; ++i)
    if (!jobs[static_cast<size_t>(i)].done()) return false;
  return true;
}

ExpertCache::ExpertCache(WeightSource& source, const ModelWeights& weights) : source_(source), weights_(weights) {}

Result<std::unique_ptr<ExpertCache>> ExpertCache::Create(WeightSource& source, const ModelWeights& weights,
                                                         int64_t bytes) {
  auto cache = std::unique_ptr<ExpertCache>(new ExpertCache(source, weights));
  const int64_t num_slots = bytes / source.slot_bytes();
  MINKE_CHECK(num_slots >= 1);  // a model may have one expert
  MINKE_ASSIGN(cache->memory_, PageMemory::Take(num_slots * source.slot_bytes(), source.huge_pages()));
  cache->slots_ = std::vector<Slot>(static_cast<size_t>(num_slots));
  const auto experts = static_cast<size_t>(source.num_layers() * source.experts_per_layer());
  cache->slot_of_.assign(experts, -1);
  cache->worth_.assign(experts, kNever);
  cache->needed_.reserve(static_cast<size_t>(source.experts_per_layer()));
  source.reader().Reserve(3 * num_slots);
  return cache;
}

ExpertCache::~ExpertCache() {
  for (Slot& slot : slots_)
    for (int i = 0; i < slot.num_jobs; ++i) {
      FileReader::Job& job = slot.jobs[static_cast<size_t>(i)];
      if (!source_.reader().Cancel(job)) source_.reader().Wait(job);
    }
}

// The sum of 2^(-age / kHalfLife) grows by one. Kept as the logarithm of its value at pass 0, it never changes while
// nothing happens, and the comparison of two experts needs no clock.
void ExpertCache::Use(int64_t expert) {
  double& worth = worth_[static_cast<size_t>(expert)];
  const double now = static_cast<double>(passes_) / kHalfLife;
  worth = now + std::log2(1 + std::exp2(worth - now));
}

// The slot that is missed least; -1 when all are needed or being read into.
int64_t ExpertCache::FindRoom() const {
  int64_t best = -1;
  double least = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    if (slot.expert < 0 && slot.idle()) return static_cast<int64_t>(i);
    if (slot.expert < 0 || slot.in_use || slot.guessed || slot.kept) continue;
    const double worth = worth_[static_cast<size_t>(slot.expert)];
    if (worth >= least || !slot.idle()) continue;
    best = static_cast<int64_t>(i);
    least = worth;
  }
  return best;
}

// What is being read into the slot goes on; until it is idle nothing else can be.
void ExpertCache::Forget(Slot& slot) {
  if (slot.expert >= 0) slot_of_[static_cast<size_t>(slot.expert)] = -1;
  slot.expert = -1;
  slot.in_use = slot.guessed = false;
}

void ExpertCache::Read(int64_t expert, int64_t slot, bool urgent) {
  Slot& s = slots_[static_cast<size_t>(slot)];
  Forget(s);
  s.expert = expert;
  s.num_jobs = 0;
  slot_of_[static_cast<size_t>(expert)] = static_cast<int32_t>(slot);
  const ExpertPlace& place = source_.place(expert / source_.experts_per_layer(), expert % source_.experts_per_layer());
  std::byte* to = memory_.data() + slot * source_.slot_bytes();
  for (const ExpertPlace::Run& run : place.runs) {
    if (run.bytes == 0) break;
    FileReader::Job& job = s.jobs[static_cast<size_t>(s.num_jobs++)];
    job.file = run.file, job.offset = run.offset, job.bytes = run.bytes, job.to = to;
    to += run.bytes;
    source_.reader().Start(job, urgent);
  }
  stats_.read_bytes += place.bytes();
}

void ExpertCache::Need(int64_t layer, std::span<const int32_t> experts) {
  layer_ = layer;
  needed_.clear();
  missing_from_ = 0;
  for (const int32_t e : experts) {
    Needed& need = needed_.emplace_back();
    need.expert = layer * source_.experts_per_layer() + e;
    Use(need.expert);
    const int64_t bytes = source_.place(layer, e).bytes();
    ++stats_.needed;
    const int64_t at = SlotOf(need.expert);
    if (at < 0) {
      stats_.missed_bytes += bytes;
      continue;
    }
    Slot& slot = slots_[static_cast<size_t>(at)];
    slot.in_use = true;
    if (std::exchange(slot.guessed, false)) {
      precision_ += (1 - precision_) * kPrecisionStep;
      ++stats_.prefetched;
      stats_.missed_bytes += bytes;
    } else {
      ++stats_.hits;
    }
    for (int i = 0; i < slot.num_jobs; ++i) source_.reader().MakeUrgent(slot.jobs[static_cast<size_t>(i)]);
  }
  for (Slot& slot : slots_)
    if (slot.guessed) DropGuess(slot);
  ReadMissing();
}

// A wrong guess is not read where no thread has begun; read as a whole, it may be right another time.
void ExpertCache::DropGuess(Slot& slot) {
  slot.guessed = false;
  precision_ -= precision_ * kPrecisionStep;
  bool whole = true;
  for (int i = 0; i < slot.num_jobs; ++i) {
    FileReader::Job& job = slot.jobs[static_cast<size_t>(i)];
    if (!source_.reader().Cancel(job)) continue;
    stats_.read_bytes -= job.bytes;
    whole = false;
  }
  if (!whole) Forget(slot);
}

// In ascending order, which is the order of Next where memory is short.
void ExpertCache::ReadMissing() {
  for (; missing_from_ < needed_.size(); ++missing_from_) {
    const Needed& need = needed_[missing_from_];
    if (need.taken || SlotOf(need.expert) >= 0) continue;
    const int64_t room = FindRoom();
    if (room < 0) return;
    Read(need.expert, room, /*urgent=*/true);
    slots_[static_cast<size_t>(room)].in_use = true;
  }
}

int64_t ExpertCache::Next(bool in_order) {
  for (;;) {
    const uint64_t seen = source_.reader().finished();
    ReadMissing();
    bool any_left = false, again = false;
    for (size_t i = 0; i < needed_.size(); ++i) {
      Needed& need = needed_[i];
      if (need.taken) continue;
      any_left = true;
      const int64_t at = SlotOf(need.expert);
      if (at >= 0 && slots_[static_cast<size_t>(at)].idle()) {
        need.taken = true;
        return static_cast<int64_t>(i);
      }
      if (!in_order) continue;
      again = at < 0 && GiveUpOneAfter(i);
      break;
    }
    if (!any_left) return -1;
    if (!again) source_.reader().WaitPast(seen);
  }
}

// Experts that are here may fill all slots, and none is left for one that has to come before them.
bool ExpertCache::GiveUpOneAfter(size_t index) {
  for (size_t i = needed_.size() - 1; i > index; --i) {
    const int64_t at = SlotOf(needed_[i].expert);
    if (needed_[i].taken || at < 0 || !slots_[static_cast<size_t>(at)].idle()) continue;
    Forget(slots_[static_cast<size_t>(at)]);
    stats_.missed_bytes += source_.place(layer_, needed_[i].expert % source_.experts_per_layer()).bytes();
    missing_from_ = index;
    return true;
  }
  return false;
}

MlpWeights ExpertCache::Weights(int64_t index) const {
  const int64_t expert = needed_[static_cast<size_t>(index)].expert, e = expert % source_.experts_per_layer();
  const ExpertPlace& place = source_.place(layer_, e);
  const std::byte* slot = memory_.data() + SlotOf(expert) * source_.slot_bytes();
  MlpWeights w = weights_.layers[static_cast<size_t>(layer_)].experts[static_cast<size_t>(e)];
  w.gate_proj.data = slot + place.matrix[0];
  w.up_proj.data = slot + place.matrix[1];
  w.down_proj.data = slot + place.matrix[2];
  return w;
}

void ExpertCache::Release(int64_t index) {
  slots_[static_cast<size_t>(SlotOf(needed_[static_cast<size_t>(index)].expert))].in_use = false;
}

void ExpertCache::Prefetch(int64_t layer, std::span<const int32_t> experts) {
  if (precision_ < kLeastPrecision && passes_ % kPassesBetweenTries != 0) return;
  // Experts that are here do not make room for the others.
  const auto keep = [&](bool kept) {
    for (const int32_t e : experts)
      if (const int64_t at = SlotOf(layer * source_.experts_per_layer() + e); at >= 0)
        slots_[static_cast<size_t>(at)].kept = kept;
  };
  keep(true);
  int64_t room_for = num_slots() / kGuessShare;
  for (const int32_t e : experts) {
    const int64_t expert = layer * source_.experts_per_layer() + e;
    if (SlotOf(expert) >= 0) continue;
    const int64_t slot = room_for-- > 0 ? FindRoom() : -1;
    if (slot < 0) break;
    Read(expert, slot, /*urgent=*/false);
    slots_[static_cast<size_t>(slot)].guessed = true;
  }
  keep(false);
}

}  // namespace minke
