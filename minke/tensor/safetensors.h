// One safetensors file: header checked against the bytes, tensors as views into the mapping; and its writer.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/tensor/tensor_file.h"

namespace minke {

// Checks everything a header can get wrong: longer than the file or than 100 MB, not JSON, duplicate names,
// overlapping, out-of-range or misaligned offsets, holes, unknown dtype, shape x dtype against the bytes,
// product overflow. Errors: kDamaged with `where` and the tensor's name; kUnsupported for a dtype we do not know.
Result<TensorMap> ParseSafetensors(std::span<const std::byte> file, std::string_view where);

Result<std::unique_ptr<TensorFile>> OpenSafetensors(const std::string& path);

struct TensorToWrite {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};
// Writes atomically (temporary file beside it, fsync, rename). Data starts 8-byte aligned.
Status WriteSafetensors(const std::string& path, std::span<const TensorToWrite> tensors);

}  // namespace minke
