// What a training run keeps on disk: RUN/step-00000120, an ordinary model folder (config.json, model.safetensors in
// F32, the tokenizer's files) with two more files, training.safetensors (the optimiser's moments, F32) and
// training.json (everything else that the next step depends on). A folder gets its name when it is whole, so a run
// that is killed at any moment goes on from one that is.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/model/checkpoint_writer.h"
#include "minke/model/parameters.h"
#include "minke/train/optimizer.h"

namespace minke {

// Writes RUN/step-N and removes older ones but for the last before it. `state` is the caller's share of training.json.
// Errors: kFailed with file and reason (disk full), or with the tensor that is not finite; then older checkpoints are
// as they were.
Status SaveTraining(const std::string& run, int64_t step, Parameters& parameters, AdamW& optimizer,
                    const ModelFiles& files, const Json& state);

// The model alone, as an ordinary folder, in place of one of that name. Its MTP layer carries copies of the shared
// embedding and head, as released checkpoints do.
Status SaveModel(const std::string& folder, Parameters& parameters, const ModelFiles& files);

// The last whole RUN/step-N; empty when there is none.
std::optional<std::string> LatestTraining(const std::string& run);
// Removes what killed runs left: parts of checkpoints, and whole ones beyond those that are kept.
void RemoveOldTraining(const std::string& run);
// kCannotResume with the key unless both configurations are equal.
Status CheckSameRun(const Json& found, const Json& wanted, const std::string& folder);

// One run at a time writes into a folder. Made with the folder if that is not there; released at the end of the
// process.
class RunLock {
 public:
  // Waits for `patience_ms`, since a process that was killed holds what it has for a moment. Errors: kFailed, also when
  // another process holds it still.
  static Result<RunLock> Take(const std::string& run, int64_t patience_ms = 3000);
  RunLock(RunLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  RunLock& operator=(RunLock&&) = delete;
  ~RunLock();

 private:
  explicit RunLock(int fd) : fd_(fd) {}
  int fd_;
};

// Fills parameters and optimiser and returns the caller's state. `check` sees that before anything is filled, and its
// error is the result. Errors: kDamaged with file and tensor, and what to do.
Result<Json> LoadTraining(const std::string& folder, Parameters& parameters, AdamW& optimizer,
                          const std::function<Status(const Json& state)>& check);

}  // namespace minke
