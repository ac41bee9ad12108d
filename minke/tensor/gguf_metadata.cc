#include <array>
#include <bit>
#include <charconv>

#include "minke/tensor/gguf_bytes.h"

namespace minke {
namespace {

// One integer of `bytes`; nothing for other types, and for what does not fit.
std::optional<int64_t> IntOf(GgufType type, std::span<const std::byte> bytes) {
  const uint64_t raw = LittleEndian(bytes);
  switch (type) {
    case GgufType::kI8:
      return static_cast<int8_t>(raw);
    case GgufType::kI16:
      return static_cast<int16_t>(raw);
    case GgufType::kI32:
      return static_cast<int32_t>(raw);
    case GgufType::kI64:
      return static_cast<int64_t>(raw);
    case GgufType::kU8:
    case GgufType::kU16:
    case GgufType::kU32:
    case GgufType::kU64:
    case GgufType::kBool:
      return raw >> 63 ? std::nullopt : std::optional(static_cast<int64_t>(raw));
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<int64_t> GgufMetadata::Int(std::string_view key) const {
  const auto found = values.find(key);
  return found == values.end() ? std::nullopt : IntOf(found->second.type, found->second.bytes);
}

std::optional<double> GgufMetadata::Number(std::string_view key) const {
  const auto found = values.find(key);
  if (found == values.end()) return std::nullopt;
  const uint64_t raw = LittleEndian(found->second.bytes.first(std::min<size_t>(found->second.bytes.size(), 8)));
  if (found->second.type == GgufType::kF64) return std::bit_cast<double>(raw);
  if (found->second.type == GgufType::kF32) {
    // 1e-6 was meant, not 9.99999997e-07.
    std::array<char, 32> text;
    const auto end = std::to_chars(text.begin(), text.end(), std::bit_cast<float>(static_cast<uint32_t>(raw))).ptr;
    double value = std::bit_cast<float>(static_cast<uint32_t>(raw));
    std::from_chars(text.begin(), end, value);
    return value;
  }
  const auto whole = IntOf(found->second.type, found->second.bytes);
  return whole ? std::optional(static_cast<double>(*whole)) : std::nullopt;
}

std::optional<bool> GgufMetadata::Bool(std::string_view key) const {
  const auto value = Int(key);
  return value ? std::optional(*value != 0) : std::nullopt;
}

std::optional<std::string_view> GgufMetadata::String(std::string_view key) const {
  const auto found = values.find(key);
  if (found == values.end() || found->second.type != GgufType::kString) return std::nullopt;
  return TextOf(found->second.bytes);
}

int64_t GgufMetadata::Count(std::string_view key) const {
  const auto found = values.find(key);
  return found == values.end() || found->second.type != GgufType::kArray ? 0 : found->second.count;
}

std::optional<std::vector<std::string_view>> GgufMetadata::Strings(std::string_view key) const {
  const auto found = values.find(key);
  if (found == values.end() || found->second.type != GgufType::kArray ||
      found->second.element_type != GgufType::kString)
    return std::nullopt;
  std::vector<std::string_view> strings;
  strings.reserve(static_cast<size_t>(found->second.count));
  auto rest = found->second.bytes;
  for (int64_t i = 0; i < found->second.count; ++i) {
    // Checked when it was read; a file that has shrunk since reads as zeros.
    const size_t length = static_cast<size_t>(std::min<uint64_t>(LittleEndian(rest.first(8)), rest.size() - 8));
    strings.push_back(TextOf(rest.subspan(8, length)));
    rest = rest.subspan(8 + length);
    if (rest.size() < 8) rest = {};
    if (rest.empty() && i + 1 < found->second.count) return std::nullopt;
  }
  return strings;
}

std::optional<std::vector<int64_t>> GgufMetadata::Ints(std::string_view key) const {
  const auto found = values.find(key);
  if (found == values.end() || found->second.type != GgufType::kArray) return std::nullopt;
  const auto size = static_cast<size_t>(SizeOf(found->second.element_type));
  if (size == 0) return std::nullopt;
  std::vector<int64_t> ints;
  ints.reserve(static_cast<size_t>(found->second.count));
  for (size_t i = 0; i < static_cast<size_t>(found->second.count); ++i) {
    const auto value = IntOf(found->second.element_type, found->second.bytes.subspan(i * size, size));
    if (!value) return std::nullopt;
    ints.push_back(*value);
  }
  return ints;
}

}  // namespace minke
