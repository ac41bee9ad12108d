// Does a model fit, with one sequence of a given length?
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/model/facts.h"
#include "minke/model/model.h"

namespace minke {

// "17.0 GB": decimal units, three digits.
std::string BytesText(int64_t bytes);
// "671.9 G", for counts of parameters.
std::string CountText(int64_t count);

struct Fit {
  int64_t context = 0;        // tokens
  int64_t weight_bytes = 0;   // mapped from the files; taken by the page cache, given back under pressure
  int64_t owned_bytes = 0;    // norms, converted scales: OwnedWeightBytes
  int64_t cache_bytes = 0;    // latents and index keys of `context` tokens, in whole pages
  int64_t scratch_bytes = 0;  // activations of the engine's batch
  int64_t available_bytes = 0;
  int64_t memory_bytes = 0;  // of --memory; 0: not asked for
  RoutedExperts experts = {};
  int64_t least_slots = 0;  // experts that a step needs room for

  // With --memory: what is always there, and how many experts find room beside it.
  int64_t resident_bytes() const { return weight_bytes - experts.bytes + private_bytes(); }
  int64_t expert_slots() const {
    const int64_t left = memory_bytes - resident_bytes();
    return left <= 0 || experts.count == 0 ? 0 : std::min(left / experts.largest, experts.count);
  }
  bool fits_limit() const { return resident_bytes() + least_slots * experts.largest <= memory_bytes; }
  int64_t private_bytes() const { return owned_bytes + cache_bytes + scratch_bytes; }
  int64_t needed_bytes() const { return weight_bytes + private_bytes(); }
  bool fits() const { return needed_bytes() <= available_bytes; }
};

// With the cache in `formats`. Errors: kInvalidArgument for a context that the model does not have.
Result<Fit> MeasureFit(const Model& model, int64_t context, int num_threads, const CacheFormats& formats,
                       int64_t memory_bytes = 0);
Json FitJson(const Fit& fit);
std::string FitText(const Fit& fit);
// kNoMemory with the numbers unless it fits, the memory of --memory where that was asked for.
Status RequireFit(const Fit& fit, std::string_view model_name);

}  // namespace minke
