// One safetensors file: header checked against the bytes, tensors as views into the mapping.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/file.h"
#include "minke/base/result.h"
#include "minke/tensor/dtype.h"

namespace minke {

// A named tensor in a mapped file; valid while the file is.
struct TensorRef {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
  int64_t num_elements() const;
};

std::string ShapeText(std::span<const int64_t> shape);  // "[80, 192]", for messages

// Checks everything a header can get wrong: longer than the file or than 100 MB, not JSON, duplicate names,
// overlapping, out-of-range or misaligned offsets, holes, unknown dtype, shape x dtype against the bytes,
// product overflow. Errors: kDamaged with `where` and the tensor's name; kUnsupported for a dtype we do not know.
Result<std::map<std::string, TensorRef, std::less<>>> ParseSafetensors(std::span<const std::byte> file,
                                                                       std::string_view where);

class SafetensorsFile {
 public:
  static Result<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  const std::map<std::string, TensorRef, std::less<>>& tensors() const { return tensors_; }
  const TensorRef* Find(std::string_view name) const;  // null if absent
  const MappedFile& file() const { return file_; }

 private:
  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}
  MappedFile file_;
  std::map<std::string, TensorRef, std::less<>> tensors_;
};

struct TensorToWrite {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};
// Writes atomically (temporary file beside it, fsync, rename). Data starts 8-byte aligned.
Status WriteSafetensors(const std::string& path, std::span<const TensorToWrite> tensors);

}  // namespace minke
