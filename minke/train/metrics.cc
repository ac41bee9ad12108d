#include "minke/train/metrics.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

#include "minke/base/file.h"
#include "minke/base/json.h"
#include "minke/text/prompt_json.h"

namespace minke {
namespace {

tl::unexpected<Error> SystemError(const std::string& path, const char* action) {
  return Fail(Code::kFailed, "{}: cannot {}: {}", path, action, std::strerror(errno));
}

// The step of one line; -1 if it is none of ours.
int64_t StepOf(std::string_view line, const std::string& path) {
  const auto object = ParseJson(line, path);
  if (!object || !object->is_object()) return -1;
  const auto step = object->find("step");
  return step != object->end() && step->is_number_unsigned() && step->get<uint64_t>() <= INT64_MAX
             ? step->get<int64_t>()
             : -1;
}

// Bytes of the lines to keep.
Result<int64_t> KeptBytes(const std::string& path, int64_t last_step) {
  if (last_step < 0) return 0;
  MINKE_ASSIGN(const MappedFile file, MappedFile::Open(path));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == text.npos) return static_cast<int64_t>(begin);
    const int64_t step = StepOf(text.substr(begin, end - begin), path);
    ++number;
    if (step < 0)
      return Fail(Code::kDamaged, "{}: line {} is no object with a \"step\": move the file away", path, number);
    if (step > last_step) return static_cast<int64_t>(begin);
    begin = end + 1;
  }
  MINKE_TRY(file.Health());
  return static_cast<int64_t>(text.size());
}

void AppendValue(std::string& out, const MetricField& field) {
  if (const auto* whole = std::get_if<int64_t>(&field.value)) {
    fmt::format_to(std::back_inserter(out), "{}", *whole);
  } else if (const auto* number = std::get_if<double>(&field.value)) {
    out += std::isfinite(*number) ? fmt::format("{}", *number) : "null";
  } else if (const auto* flag = std::get_if<bool>(&field.value)) {
    out += *flag ? "true" : "false";
  } else {
    AppendJsonString(out, std::get<std::string_view>(field.value));
  }
}

}  // namespace

Result<MetricsWriter> MetricsWriter::Open(const std::string& path, int64_t last_step) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
  if (fd < 0) return SystemError(path, "open");
  MetricsWriter writer(path, fd, 0);
  struct stat info;
  if (::fstat(fd, &info) != 0) return SystemError(path, "open");
  if (!S_ISREG(info.st_mode)) return Fail(Code::kFailed, "{}: is a pipe or device, expected a regular file", path);
  MINKE_ASSIGN(writer.bytes_, KeptBytes(path, last_step));
  if (writer.bytes_ < info.st_size && ::ftruncate(fd, writer.bytes_) != 0) return SystemError(path, "cut");
  return writer;
}

MetricsWriter::MetricsWriter(MetricsWriter&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), bytes_(other.bytes_) {}
MetricsWriter& MetricsWriter::operator=(MetricsWriter&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
MetricsWriter::~MetricsWriter() {
  if (fd_ >= 0) ::close(fd_);
}

Status MetricsWriter::Write(int64_t step, std::span<const MetricField> fields) {
  std::string line = fmt::format("{{\"step\": {}", step);
  for (const MetricField& field : fields) {
    line += ", ";
    AppendJsonString(line, field.name);
    line += ": ";
    AppendValue(line, field);
  }
  line += "}\n";
  for (size_t done = 0; done < line.size();) {
    const ssize_t n = ::write(fd_, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const auto failed = SystemError(path_, "write");
      if (done > 0 && ::ftruncate(fd_, bytes_) != 0) return SystemError(path_, "cut");
      return failed;
    }
    done += static_cast<size_t>(n);
  }
  bytes_ += static_cast<int64_t>(line.size());
  return {};
}

}  // namespace minke
