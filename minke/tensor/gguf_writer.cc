#include "minke/tensor/gguf_writer.h"

#include "minke/base/check.h"
#include "minke/tensor/block.h"

namespace minke {
namespace {

template <class T>
void Put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);  // little-endian, as all machines we run on
}
void PutText(std::string& out, std::string_view text) {
  Put(out, uint64_t{text.size()});
  out += text;
}

}  // namespace

void GgufWriter::Key(std::string_view key, GgufType type) {
  const bool first = keys_.emplace(key).second;
  MINKE_CHECK(first);
  PutText(values_, key);
  Put(values_, type);
}

void GgufWriter::Array(std::string_view key, GgufType type, size_t count) {
  Key(key, GgufType::kArray);
  Put(values_, type);
  Put(values_, uint64_t{count});
}

void GgufWriter::Int(std::string_view key, int64_t value) {
  MINKE_CHECK(value >= 0 && value <= UINT32_MAX);
  Key(key, GgufType::kU32);
  Put(values_, static_cast<uint32_t>(value));
}

void GgufWriter::Float(std::string_view key, double value) {
  Key(key, GgufType::kF32);
  Put(values_, static_cast<float>(value));
}

void GgufWriter::Bool(std::string_view key, bool value) {
  Key(key, GgufType::kBool);
  Put(values_, static_cast<uint8_t>(value));
}

void GgufWriter::String(std::string_view key, std::string_view value) {
  Key(key, GgufType::kString);
  PutText(values_, value);
}

void GgufWriter::Strings(std::string_view key, std::span<const std::string> values) {
  Array(key, GgufType::kString, values.size());
  for (const std::string& value : values) PutText(values_, value);
}

void GgufWriter::Ints(std::string_view key, std::span<const int64_t> values) {
  Array(key, GgufType::kI32, values.size());
  for (const int64_t value : values) Put(values_, static_cast<int32_t>(value));
}

void GgufWriter::Bools(std::string_view key, const std::vector<bool>& values) {
  Array(key, GgufType::kBool, values.size());
  for (const bool value : values) Put(values_, static_cast<uint8_t>(value));
}

void GgufWriter::Tensor(std::string_view name, DType dtype, std::span<const int64_t> shape) {
  const auto type = GgufTensorType(dtype);
  MINKE_CHECK(type.has_value());
  PutText(tensors_, name);
  Put(tensors_, static_cast<uint32_t>(shape.size()));
  int64_t rows = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    Put(tensors_, static_cast<uint64_t>(shape[d]));
    if (d + 1 < shape.size()) rows *= shape[d];
  }
  Put(tensors_, *type);
  Put(tensors_, static_cast<uint64_t>(offset_));
  const int64_t bytes = rows * RowBytes(dtype, shape.back());
  offset_ += bytes + GgufPadding(bytes);
  ++num_tensors_;
}

std::string GgufWriter::Header() const {
  std::string header = "GGUF";
  Put(header, uint32_t{3});
  Put(header, num_tensors_);
  Put(header, uint64_t{keys_.size()});
  header += values_;
  header += tensors_;
  header.append(static_cast<size_t>(GgufPadding(static_cast<int64_t>(header.size()))), '\0');
  return header;
}

}  // namespace minke
