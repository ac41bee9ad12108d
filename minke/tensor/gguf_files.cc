#include "minke/tensor/gguf.h"

namespace minke {
namespace {

struct OpenedPart {
  std::unique_ptr<TensorFile> file;
  GgufMetadata metadata;
};

Result<OpenedPart> OpenPart(const std::string& path) {
  MINKE_ASSIGN(MappedFile mapped, MappedFile::Open(path));
  OpenedPart part;
  part.file = std::make_unique<TensorFile>(std::move(mapped));
  auto contents = ParseGguf(part.file->file().bytes(), path);
  MINKE_TRY(part.file->file().Health());  // a header read as zeros deserves the true reason
  if (!contents) return Fail(std::move(contents.error()));
  part.file->set_tensors(std::move(contents->tensors));
  part.metadata = std::move(contents->metadata);
  return part;
}

constexpr int64_t kMaxParts = 99999;
constexpr std::string_view kPartForm = "-00001-of-00001.gguf";

}  // namespace

bool IsGgufPath(std::string_view path) { return path.ends_with(".gguf"); }

Result<GgufFiles> OpenGguf(const std::string& path) {
  MINKE_ASSIGN(OpenedPart given, OpenPart(path));
  GgufFiles files;
  const int64_t count = given.metadata.Int("split.count").value_or(1);
  if (count <= 1) {
    files.metadata = std::move(given.metadata);
    files.parts.push_back(std::move(given.file));
    return files;
  }
  if (count > kMaxParts) return Fail(Code::kDamaged, "{}: split.count is {}, more than {}", path, count, kMaxParts);
  const int64_t number = given.metadata.Int("split.no").value_or(-1);
  if (number < 0 || number >= count)
    return Fail(Code::kDamaged, "{}: split.no is missing, or not from 0 to {}", path, count - 1);
  const std::string ending = fmt::format("-{:05}-of-{:05}.gguf", number + 1, count);
  if (!path.ends_with(ending))
    return Fail(Code::kDamaged, "{}: is a part of a split model, so its name must end with {}", path, ending);
  const std::string stem = path.substr(0, path.size() - kPartForm.size());
  for (int64_t i = 0; i < count; ++i) {
    const std::string name = fmt::format("{}-{:05}-of-{:05}.gguf", stem, i + 1, count);
    MINKE_ASSIGN(OpenedPart part, OpenPart(name));
    if (part.metadata.Int("split.no") != i || part.metadata.Int("split.count") != count)
      return Fail(Code::kDamaged, "{}: is not part {} of {} by its split.no and split.count", name, i + 1, count);
    if (i == 0) files.metadata = std::move(part.metadata);
    files.parts.push_back(std::move(part.file));
  }
  return files;
}

}  // namespace minke
