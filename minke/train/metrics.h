// The metrics of a run: one JSON object a line and step, appended and handed to the system at once, so that whoever
// follows the file sees whole lines only. One thread writes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "minke/base/result.h"

namespace minke {

// A number that is not finite is written as null, a double in the shortest form that reads back as the same double.
struct MetricField {
  std::string_view name;
  std::variant<int64_t, double, std::string_view, bool> value;
};

class MetricsWriter {
 public:
  // Opens `path` for appending, made if it is not there. Lines of steps after `last_step`, and a last line that a kill
  // cut short, are removed first: a run resumed from the checkpoint of `last_step` writes them again. -1 empties it.
  // Errors: kFailed; kDamaged for a line in the middle that is no object with a "step".
  static Result<MetricsWriter> Open(const std::string& path, int64_t last_step);
  MetricsWriter(MetricsWriter&& other) noexcept;
  MetricsWriter& operator=(MetricsWriter&& other) noexcept;
  ~MetricsWriter();

  // {"step": step, fields in their order}. Errors: kFailed (disk full); the file ends with a whole line then too.
  Status Write(int64_t step, std::span<const MetricField> fields);

 private:
  MetricsWriter(std::string path, int fd, int64_t bytes) : path_(std::move(path)), fd_(fd), bytes_(bytes) {}

  std::string path_;
  int fd_ = -1;
  int64_t bytes_ = 0;  // of whole lines
};

}  // namespace minke
