// How fast a disk gives files away in order, by the reader that weights come through: what cold starts and experts on
// demand are measured against.
#pragma once

#include <cstdint>

#include "minke/base/file_reader.h"
#include "minke/base/result.h"
#include "minke/model/model.h"

namespace minke {

// Bytes a second over the first `most_bytes` after `offset` of a file, or as far as `seconds` go. Errors: kNoMemory,
// those of reading.
Result<double> SequentialReadSpeed(FileReader& reader, int file, int64_t offset, int64_t most_bytes, double seconds);

// The same of a model with a source, about half a second, from another place in its largest file each time.
Result<double> ModelReadSpeed(const Model& model);

}  // namespace minke
