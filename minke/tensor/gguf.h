// GGUF, versions 2 and 3: metadata and tensors of one file, or of all parts of a split one. Lengths are checked before
// anything is believed; texts and arrays stay in the mapping.
// Source: ggml's docs/gguf.md and gguf.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/tensor/tensor_file.h"

namespace minke {

enum class GgufType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

// One value of the metadata. `bytes` are its little-endian bytes; of a string the text, of an array all elements as
// they are stored (strings: a length of 64 bits, then the text).
struct GgufValue {
  GgufType type = GgufType::kU8;
  GgufType element_type = GgufType::kU8;  // of an array
  int64_t count = 1;                      // elements of an array
  std::span<const std::byte> bytes;
};

// Valid while the file it came from is. Every reader returns nothing where the key is absent or of another kind;
// `Has` tells these two apart.
class GgufMetadata {
 public:
  std::map<std::string, GgufValue, std::less<>> values;

  bool Has(std::string_view key) const { return values.contains(key); }
  std::optional<int64_t> Int(std::string_view key) const;    // any integer type, or bool; below 2^63
  std::optional<double> Number(std::string_view key) const;  // that, or a float: an F32 as its shortest decimal says
  std::optional<bool> Bool(std::string_view key) const;
  std::optional<std::string_view> String(std::string_view key) const;
  int64_t Count(std::string_view key) const;  // elements of an array, for judging them before they are copied; else 0
  std::optional<std::vector<std::string_view>> Strings(std::string_view key) const;
  std::optional<std::vector<int64_t>> Ints(std::string_view key) const;  // an array of integers or bools
};

// Shapes are row-major, so the reverse of the file's. Data of types other than F32, F16, BF16 and the blocks of block.h
// is refused with the type's name. Numbers in F32, F16 and BF16 lie at multiples of
// their size.
struct GgufContents {
  GgufMetadata metadata;
  TensorMap tensors;
};
// Errors: kDamaged and kUnsupported, each with `where` and the key or tensor.
Result<GgufContents> ParseGguf(std::span<const std::byte> file, std::string_view where);

// All parts of a model; `path` is the file, or any part of a split one ("NAME-00002-of-00003.gguf").
struct GgufFiles {
  std::vector<std::unique_ptr<TensorFile>> parts;
  GgufMetadata metadata;  // of the first part
};
Result<GgufFiles> OpenGguf(const std::string& path);
bool IsGgufPath(std::string_view path);  // ends with ".gguf"

// The number of a tensor type in the file; nothing for a type that no GGUF file holds.
std::optional<uint32_t> GgufTensorType(DType dtype);

}  // namespace minke
