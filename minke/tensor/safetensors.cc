#include "minke/tensor/safetensors.h"

#include <algorithm>
#include <cstring>

#include "minke/base/check.h"
#include "minke/base/json.h"
#include "minke/tensor/safetensors_header.h"

namespace minke {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr size_t kLengthBytes = 8;

// The header's length is little-endian on every machine.
uint64_t ReadLength(std::span<const std::byte> file) {
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= static_cast<uint64_t>(file[i]) << (8 * i);
  return length;
}

// Bytes of `shape` elements of `dtype`, or nothing if the product does not fit. A zero dimension makes it zero, but
// the other dimensions must still multiply without overflow, so that no later product can surprise.
std::optional<int64_t> BytesOf(DType dtype, const std::vector<int64_t>& shape) {
  int64_t product = ElementBytes(dtype);
  bool empty = false;
  for (const int64_t dim : shape) {
    if (dim == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(product, dim, &product)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : product;
}

}  // namespace

Result<TensorMap> ParseSafetensors(std::span<const std::byte> file, std::string_view where) {
  if (file.size() < kLengthBytes)
    return Fail(Code::kDamaged, "{}: has {} bytes, too few for a safetensors file", where, file.size());
  const uint64_t header_bytes = ReadLength(file);
  if (header_bytes > kMaxHeaderBytes)
    return Fail(Code::kDamaged, "{}: states a header of {} bytes, more than {}; is it a safetensors file?", where,
                header_bytes, kMaxHeaderBytes);
  if (header_bytes > file.size() - kLengthBytes)
    return Fail(Code::kDamaged, "{}: states a header of {} bytes but has only {}; was it cut short?", where,
                header_bytes, file.size() - kLengthBytes);
  const std::string_view json(reinterpret_cast<const char*>(file.data()) + kLengthBytes, header_bytes);
  MINKE_ASSIGN(auto entries, ParseHeader(json, where));

  const size_t data_start = kLengthBytes + header_bytes;
  const std::span<const std::byte> data = file.subspan(data_start);
  const auto data_bytes = static_cast<int64_t>(data.size());
  TensorMap tensors;
  std::vector<std::pair<const std::string*, const HeaderEntry*>> by_offset;
  for (auto& [name, entry] : entries) {
    const auto fail = [&](std::string problem) {
      return Fail(Code::kDamaged, "{}: tensor {} {}", where, NameForMessage(name), problem);
    };
    if (entry.end > data_bytes)
      return fail(
          fmt::format("ends at byte {} of the data, which has {}; was the file cut short?", entry.end, data_bytes));
    const std::optional<int64_t> bytes = BytesOf(entry.dtype, entry.shape);
    if (!bytes) return fail(fmt::format("has the shape {}, whose size overflows", ShapeText(entry.shape)));
    if (*bytes != entry.end - entry.begin)
      return fail(fmt::format("of type {} and shape {} needs {} bytes, but its data_offsets [{}, {}] hold {}",
                              DTypeName(entry.dtype), ShapeText(entry.shape), *bytes, entry.begin, entry.end,
                              entry.end - entry.begin));
    const int64_t align = ElementBytes(entry.dtype);
    if (*bytes > 0 && (static_cast<int64_t>(data_start) + entry.begin) % align != 0)
      return fail(fmt::format("of type {} starts at byte {} of the file, which is not a multiple of {}",
                              DTypeName(entry.dtype), static_cast<int64_t>(data_start) + entry.begin, align));
    by_offset.emplace_back(&name, &entry);
  }
  // The data is tiled by the tensors: no byte belongs to two, none to nobody.
  std::sort(by_offset.begin(), by_offset.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  int64_t covered = 0;
  const std::string* previous = nullptr;
  for (const auto& [name, entry] : by_offset) {
    if (entry->begin < covered)
      return Fail(Code::kDamaged, "{}: tensors {} and {} overlap at byte {} of the data", where,
                  NameForMessage(*previous), NameForMessage(*name), entry->begin);
    if (entry->begin > covered)
      return Fail(Code::kDamaged, "{}: bytes {} to {} of the data, before tensor {}, belong to no tensor", where,
                  covered, entry->begin, NameForMessage(*name));
    covered = entry->end;
    previous = name;
  }
  if (covered != data_bytes)
    return Fail(Code::kDamaged, "{}: the last {} bytes belong to no tensor", where, data_bytes - covered);

  for (auto& [name, entry] : entries)
    tensors.emplace_hint(tensors.end(), name,
                         TensorRef{.dtype = entry.dtype,
                                   .shape = std::move(entry.shape),
                                   .bytes = data.subspan(static_cast<size_t>(entry.begin),
                                                         static_cast<size_t>(entry.end - entry.begin))});
  return tensors;
}

Result<std::unique_ptr<TensorFile>> OpenSafetensors(const std::string& path) {
  MINKE_ASSIGN(MappedFile mapped, MappedFile::Open(path));
  auto file = std::make_unique<TensorFile>(std::move(mapped));
  auto tensors = ParseSafetensors(file->file().bytes(), path);
  MINKE_TRY(file->file().Health());  // a header read as zeros deserves the true reason
  if (!tensors) return Fail(std::move(tensors.error()));
  file->set_tensors(std::move(*tensors));
  return file;
}

Status WriteSafetensors(const std::string& path, std::span<const TensorToWrite> tensors) {
  // Widest elements first, so that 8-byte aligned data keeps every tensor aligned without holes; then by name.
  std::vector<const TensorToWrite*> order;
  for (const TensorToWrite& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
    const int64_t width_a = ElementBytes(a->dtype), width_b = ElementBytes(b->dtype);
    return width_a != width_b ? width_a > width_b : a->name < b->name;
  });
  Json header = Json::object();
  std::vector<std::span<const std::byte>> pieces(1);
  int64_t offset = 0;
  for (const TensorToWrite* tensor : order) {
    const auto bytes = static_cast<int64_t>(tensor->bytes.size());
    MINKE_CHECK(BytesOf(tensor->dtype, tensor->shape) == bytes);
    MINKE_CHECK(tensor->name != "__metadata__" && !header.contains(tensor->name));
    header[tensor->name] = {
        {"dtype", DTypeName(tensor->dtype)}, {"shape", tensor->shape}, {"data_offsets", {offset, offset + bytes}}};
    pieces.push_back(tensor->bytes);
    offset += bytes;
  }
  std::string text = DumpJson(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string start(kLengthBytes, '\0');
  for (size_t i = 0; i < kLengthBytes; ++i) start[i] = static_cast<char>((text.size() >> (8 * i)) & 0xFF);
  start += text;
  pieces[0] = std::as_bytes(std::span(start));
  return WriteFileAtomic(path, pieces);
}

}  // namespace minke
