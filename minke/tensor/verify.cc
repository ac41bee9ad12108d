#include "minke/tensor/verify.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "minke/tensor/block.h"

namespace minke {
namespace {

constexpr int64_t kBlock = 1024;  // elements judged without a branch
constexpr int64_t kGrain = 1 << 18;

// Adds what `bad` says of words [begin, end) to `found`. A clean block costs one pass that the compiler vectorises.
template <class Word, class Bad>
void Scan(const Word* words, int64_t begin, int64_t end, Bad bad, BadValues& found) {
  for (int64_t block = begin; block < end; block += kBlock) {
    const int64_t block_end = std::min(block + kBlock, end);
    unsigned any = 0;
    for (int64_t i = block; i < block_end; ++i) any |= bad(words[i]);
    if (!any) continue;
    for (int64_t i = block; i < block_end; ++i)
      if (bad(words[i]) && found.count++ == 0) found.first = i;
  }
}

// `exponent` is the mask whose bits are all set in a NaN or an infinity. A positive finite number, read as a signed
// integer, lies above 0 and below that mask.
template <class Word, class Signed>
void ScanFloats(const void* data, int64_t begin, int64_t end, Word exponent, ValueRule rule, BadValues& found) {
  const auto* words = static_cast<const Word*>(data);
  if (rule == ValueRule::kFinite) {
    Scan(words, begin, end, [=](Word w) { return static_cast<unsigned>((w & exponent) == exponent); }, found);
  } else {
    const auto limit = static_cast<Signed>(exponent);
    Scan(
        words, begin, end,
        [=](Word w) {
          const auto value = static_cast<Signed>(w);
          return static_cast<unsigned>(value <= 0) | static_cast<unsigned>(value >= limit);
        },
        found);
  }
}

// Where in a block its F16 scale lies; in some formats a minimum follows it.
int64_t ScaleOffset(DType dtype) { return dtype == DType::kQ6_K ? 208 : 0; }
bool HasMinimumInBlock(DType dtype) { return dtype == DType::kQ5_1 || dtype == DType::kQ4_K || dtype == DType::kQ5_K; }

// Of blocks [begin, end): any code with finite scales is finite.
void ScanBlocks(const TensorRef& tensor, int64_t begin, int64_t end, BadValues& found) {
  const int halves = HasMinimumInBlock(tensor.dtype) ? 2 : 1;
  for (int64_t block = begin; block < end; ++block) {
    uint16_t scales[2];
    std::memcpy(scales, tensor.bytes.data() + block * BlockBytes(tensor.dtype) + ScaleOffset(tensor.dtype),
                static_cast<size_t>(halves) * sizeof scales[0]);
    for (int i = 0; i < halves; ++i)
      if ((scales[i] & 0x7C00) == 0x7C00) {
        if (found.count++ == 0) found.first = block * BlockCols(tensor.dtype);
        break;
      }
  }
}

void ScanRange(const TensorRef& tensor, int64_t begin, int64_t end, ValueRule rule, BadValues& found) {
  const void* data = tensor.bytes.data();
  const auto* bytes = static_cast<const uint8_t*>(data);
  switch (tensor.dtype) {
    case DType::kF64:
      return ScanFloats<uint64_t, int64_t>(data, begin, end, 0x7FF0000000000000u, rule, found);
    case DType::kF32:
      return ScanFloats<uint32_t, int32_t>(data, begin, end, 0x7F800000u, rule, found);
    case DType::kF16:
      return ScanFloats<uint16_t, int16_t>(data, begin, end, 0x7C00, rule, found);
    case DType::kBF16:
      return ScanFloats<uint16_t, int16_t>(data, begin, end, 0x7F80, rule, found);
    case DType::kF8E4M3:
      return Scan(bytes, begin, end, [](uint8_t code) { return static_cast<unsigned>((code & 0x7F) == 0x7F); }, found);
    case DType::kF8E8M0:
      return Scan(bytes, begin, end, [](uint8_t code) { return static_cast<unsigned>(code == 0xFF); }, found);
    default: {
      // One byte of every 64: every page is touched.
      volatile uint8_t sink = 0;
      for (int64_t i = begin * ElementBytes(tensor.dtype); i < end * ElementBytes(tensor.dtype); i += 64)
        sink = bytes[i];
      static_cast<void>(sink);
    }
  }
}

}  // namespace

std::optional<BadValues> FindBadValues(const TensorRef& tensor, ValueRule rule, ThreadPool& pool) {
  std::vector<BadValues> parts(static_cast<size_t>(pool.num_threads()));
  const bool blocked = IsBlocked(tensor.dtype);
  const int64_t unit = blocked ? BlockCols(tensor.dtype) : 1;
  pool.ForRanges(tensor.num_elements() / unit, kGrain / unit, [&](int64_t begin, int64_t end, int worker) {
    BadValues found;
    blocked ? ScanBlocks(tensor, begin, end, found) : ScanRange(tensor, begin, end, rule, found);
    BadValues& part = parts[static_cast<size_t>(worker)];
    if (found.count > 0 && (part.count == 0 || found.first < part.first)) part.first = found.first;
    part.count += found.count;
  });
  BadValues total;
  for (const BadValues& part : parts) {
    if (part.count == 0) continue;
    total.first = total.count == 0 ? part.first : std::min(total.first, part.first);
    total.count += part.count;
  }
  if (total.count == 0) return std::nullopt;
  total.value = ValueAt(tensor, total.first);
  return total;
}

}  // namespace minke
