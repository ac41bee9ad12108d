#include "minke/tensor/gguf.h"

#include <algorithm>
#include <array>

#include "minke/tensor/block.h"
#include "minke/tensor/gguf_bytes.h"

namespace minke {
namespace {

constexpr uint64_t kMaxKeyBytes = 65535, kMaxNameBytes = 1024;
constexpr uint32_t kMaxRank = 4;
// Far more than any model has; what is kept of an entry is ten times its bytes in a hostile file.
constexpr uint64_t kMaxValues = 1 << 16, kMaxTensors = 1 << 20;
constexpr int64_t kMaxAlignment = 1 << 20;
// The smallest entries that can be: they bound the counts before anything is reserved for them.
constexpr uint64_t kMinValueEntry = 8 + 4 + 1, kMinTensorEntry = 8 + 4 + 8 + 4 + 8;

struct TensorType {
  uint32_t number;
  std::string_view name;
  std::optional<DType> dtype;  // nothing: not read
};
constexpr std::array<TensorType, 34> kTensorTypes = {{
    {0, "F32", DType::kF32},
    {1, "F16", DType::kF16},
    {2, "Q4_0", DType::kQ4_0},
    {3, "Q4_1", {}},
    {6, "Q5_0", DType::kQ5_0},
    {7, "Q5_1", DType::kQ5_1},
    {8, "Q8_0", DType::kQ8_0},
    {9, "Q8_1", {}},
    {10, "Q2_K", {}},
    {11, "Q3_K", {}},
    {12, "Q4_K", DType::kQ4_K},
    {13, "Q5_K", DType::kQ5_K},
    {14, "Q6_K", DType::kQ6_K},
    {15, "Q8_K", {}},
    {16, "IQ2_XXS", {}},
    {17, "IQ2_XS", {}},
    {18, "IQ3_XXS", {}},
    {19, "IQ1_S", {}},
    {20, "IQ4_NL", {}},
    {21, "IQ3_S", {}},
    {22, "IQ2_S", {}},
    {23, "IQ4_XS", {}},
    {24, "I8", {}},
    {25, "I16", {}},
    {26, "I32", {}},
    {27, "I64", {}},
    {28, "F64", {}},
    {29, "IQ1_M", {}},
    {30, "BF16", DType::kBF16},
    {34, "TQ1_0", {}},
    {35, "TQ2_0", {}},
    {39, "MXFP4", {}},
    {40, "NVFP4", {}},
    {41, "Q1_0", {}},
}};

// Takes bytes from the front of a file; the first problem makes everything after it empty.
class Reader {
 public:
  Reader(std::span<const std::byte> file, std::string_view where) : file_(file), where_(where) {}

  Result<GgufContents> Read() {
    MINKE_TRY(ReadStart());
    for (uint64_t i = 0; i < num_values_; ++i) MINKE_TRY(ReadValue(i));
    alignment_ = 32;
    if (contents_.metadata.Has("general.alignment")) {
      alignment_ = contents_.metadata.Int("general.alignment").value_or(0);
      if (alignment_ <= 0 || alignment_ > kMaxAlignment || (alignment_ & (alignment_ - 1)) != 0)
        return Damaged("general.alignment is {}, expected a power of two up to {}", alignment_, kMaxAlignment);
    }
    entries_.reserve(num_tensors_);
    for (uint64_t i = 0; i < num_tensors_; ++i) MINKE_TRY(ReadTensor(i));
    MINKE_TRY(PlaceTensors());
    return std::move(contents_);
  }

 private:
  struct Entry {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;
    int64_t begin, bytes;
  };

  template <class... Args>
  tl::unexpected<Error> Damaged(fmt::format_string<Args...> format, Args&&... args) const {
    return Fail(Code::kDamaged, "{}: {}", where_, fmt::format(format, std::forward<Args>(args)...));
  }
  tl::unexpected<Error> CutShort(std::string_view in) const {
    return Damaged("ends at byte {}, inside {}; was it cut short?", file_.size(), in);
  }

  uint64_t left() const { return file_.size() - at_; }
  // Nothing if the file ends before.
  std::optional<std::span<const std::byte>> Take(uint64_t count) {
    if (count > left()) return std::nullopt;
    const auto taken = file_.subspan(at_, count);
    at_ += count;
    return taken;
  }
  std::optional<uint64_t> TakeInt(uint64_t bytes) {
    const auto taken = Take(bytes);
    return taken ? std::optional(LittleEndian(*taken)) : std::nullopt;
  }
  std::optional<std::string_view> TakeString() {
    const auto length = TakeInt(8);
    const auto text = length ? Take(*length) : std::nullopt;
    return text ? std::optional(TextOf(*text)) : std::nullopt;
  }

  Status ReadStart() {
    const auto magic = Take(4);
    if (!magic || TextOf(*magic) != "GGUF") return Damaged("does not begin with \"GGUF\"; is it a GGUF file?");
    const auto version = TakeInt(4), tensors = TakeInt(8), values = TakeInt(8);
    if (!values) return CutShort("its first 24 bytes");
    if (*version < 2 || *version > 3)
      return Fail(Code::kUnsupported, "{}: is GGUF version {}{}; minke reads 2 and 3, little-endian", where_, *version,
                  *version > 0xFFFF ? " (big-endian?)" : "");
    if (*values > std::min(kMaxValues, left() / kMinValueEntry))
      return Damaged("states {} metadata values, more than {} bytes can hold, or than {}", *values, file_.size(),
                     kMaxValues);
    if (*tensors > std::min(kMaxTensors, left() / kMinTensorEntry))
      return Damaged("states {} tensors, more than {} bytes can hold, or than {}", *tensors, file_.size(), kMaxTensors);
    num_tensors_ = *tensors, num_values_ = *values;
    return {};
  }

  Status ReadValue(uint64_t i) {
    const auto key = TakeString();
    if (!key) return CutShort(fmt::format("the key of metadata value {}", i));
    if (key->empty() || key->size() > kMaxKeyBytes)
      return Damaged("metadata value {} has a key of {} bytes", i, key->size());
    const std::string shown = NameForMessage(*key);
    GgufValue value;
    const auto type = TakeInt(4);
    if (!type) return CutShort(shown);
    if (*type > static_cast<uint64_t>(GgufType::kF64)) return Damaged("{} has the unknown type {}", shown, *type);
    value.type = static_cast<GgufType>(*type);
    if (value.type == GgufType::kArray) {
      MINKE_TRY(ReadArray(shown, value));
    } else if (value.type == GgufType::kString) {
      const auto text = TakeString();
      if (!text) return CutShort(shown);
      value.bytes = std::as_bytes(std::span(*text));
    } else {
      const auto bytes = Take(static_cast<uint64_t>(SizeOf(value.type)));
      if (!bytes) return CutShort(shown);
      value.bytes = *bytes;
    }
    if (!contents_.metadata.values.emplace(*key, value).second) return Damaged("the key {} appears twice", shown);
    return {};
  }

  Status ReadArray(const std::string& shown, GgufValue& value) {
    const auto type = TakeInt(4), count = TakeInt(8);
    if (!count) return CutShort(shown);
    if (*type > static_cast<uint64_t>(GgufType::kF64))
      return Damaged("{} has the unknown element type {}", shown, *type);
    value.element_type = static_cast<GgufType>(*type);
    if (value.element_type == GgufType::kArray)
      return Fail(Code::kUnsupported, "{}: {} is an array of arrays, which minke does not read", where_, shown);
    const bool strings = value.element_type == GgufType::kString;
    const auto element = static_cast<uint64_t>(strings ? 8 : SizeOf(value.element_type));
    if (*count > left() / element)
      return Damaged("{} states {} elements, more than the rest of the file can hold; was it cut short?", shown,
                     *count);
    value.count = static_cast<int64_t>(*count);
    const uint64_t begin = at_;
    if (strings) {
      for (uint64_t i = 0; i < *count; ++i)
        if (!TakeString()) return CutShort(fmt::format("element {} of {}", i, shown));
    } else {
      at_ += *count * element;
    }
    value.bytes = file_.subspan(begin, at_ - begin);
    return {};
  }

  Status ReadTensor(uint64_t i) {
    const auto name = TakeString();
    if (!name) return CutShort(fmt::format("the name of tensor {}", i));
    if (name->empty() || name->size() > kMaxNameBytes)
      return Damaged("tensor {} has a name of {} bytes", i, name->size());
    const std::string shown = NameForMessage(*name);
    const auto rank = TakeInt(4);
    if (!rank) return CutShort("tensor " + shown);
    if (*rank < 1 || *rank > kMaxRank)
      return Damaged("tensor {} has {} dimensions, expected 1 to {}", shown, *rank, kMaxRank);
    Entry entry = {std::string(*name), DType::kF32, {}, 0, 0};
    int64_t elements = 1;
    for (uint64_t d = 0; d < *rank; ++d) {
      const auto dim = TakeInt(8);
      if (!dim) return CutShort("tensor " + shown);
      // In bits even, so that no product of it with a type's size can overflow.
      if (*dim == 0 || *dim >> 48 || __builtin_mul_overflow(elements, static_cast<int64_t>(*dim), &elements) ||
          elements >> 56)
        return Damaged("tensor {} has the dimension {}: no weight is empty, or that large", shown, *dim);
      entry.shape.insert(entry.shape.begin(), static_cast<int64_t>(*dim));
    }
    const auto type = TakeInt(4), offset = TakeInt(8);
    if (!offset) return CutShort("tensor " + shown);
    const auto* known = std::ranges::find(kTensorTypes, static_cast<uint32_t>(*type), &TensorType::number);
    if (known == kTensorTypes.end() || !known->dtype)
      return Fail(Code::kUnsupported,
                  "{}: tensor {} is of the type {}; minke reads F32, F16, BF16, Q8_0, Q6_K, Q5_K, "
                  "Q5_1, Q5_0, Q4_K and Q4_0",
                  where_, shown, known == kTensorTypes.end() ? fmt::format("{}", *type) : std::string(known->name));
    entry.dtype = *known->dtype;
    const int64_t cols = entry.shape.back();
    if (IsBlocked(entry.dtype) && cols % BlockCols(entry.dtype) != 0)
      return Damaged("tensor {} of type {} has rows of {} values, not a multiple of {}", shown, known->name, cols,
                     BlockCols(entry.dtype));
    entry.bytes = elements / cols * RowBytes(entry.dtype, cols);
    if (*offset % static_cast<uint64_t>(alignment_) != 0)
      return Damaged("tensor {} starts at byte {} of the data, which is not a multiple of {}", shown, *offset,
                     alignment_);
    if (*offset >> 62) return Damaged("tensor {} starts at byte {} of the data, beyond any file", shown, *offset);
    entry.begin = static_cast<int64_t>(*offset);
    entries_.push_back(std::move(entry));
    return {};
  }

  // Offsets count from the first multiple of the alignment behind the header.
  Status PlaceTensors() {
    const auto align = static_cast<uint64_t>(alignment_);
    const uint64_t start = std::min<uint64_t>((at_ + align - 1) / align * align, file_.size());
    const auto data = file_.subspan(start);
    const auto data_bytes = static_cast<int64_t>(data.size());
    for (Entry& entry : entries_) {
      if (entry.bytes > data_bytes || entry.begin > data_bytes - entry.bytes)
        return Damaged("tensor {} has {} bytes at byte {} of the data, which has {}; was the file cut short?",
                       NameForMessage(entry.name), entry.bytes, entry.begin, data_bytes);
      // Kernels load whole numbers; blocks lie as they lie.
      if (const int64_t size = IsBlocked(entry.dtype) ? 1 : ElementBytes(entry.dtype);
          (static_cast<int64_t>(start) + entry.begin) % size != 0)
        return Damaged("tensor {} starts at byte {}, which is not a multiple of its numbers' {} bytes",
                       NameForMessage(entry.name), static_cast<int64_t>(start) + entry.begin, size);
      TensorRef ref = {entry.dtype, std::move(entry.shape),
                       data.subspan(static_cast<size_t>(entry.begin), static_cast<size_t>(entry.bytes))};
      if (!contents_.tensors.emplace(entry.name, std::move(ref)).second)
        return Damaged("the tensor {} appears twice", NameForMessage(entry.name));
    }
    std::ranges::sort(entries_, {}, &Entry::begin);
    for (size_t i = 1; i < entries_.size(); ++i)
      if (entries_[i].begin < entries_[i - 1].begin + entries_[i - 1].bytes)
        return Damaged("tensors {} and {} overlap at byte {} of the data", NameForMessage(entries_[i - 1].name),
                       NameForMessage(entries_[i].name), entries_[i].begin);
    return {};
  }

  std::span<const std::byte> file_;
  std::string_view where_;
  uint64_t at_ = 0;  // never beyond the file
  uint64_t num_tensors_ = 0, num_values_ = 0;
  int64_t alignment_ = 32;
  std::vector<Entry> entries_;
  GgufContents contents_;
};

}  // namespace

Result<GgufContents> ParseGguf(std::span<const std::byte> file, std::string_view where) {
  return Reader(file, where).Read();
}

std::optional<uint32_t> GgufTensorType(DType dtype) {
  for (const TensorType& type : kTensorTypes)
    if (type.dtype == dtype) return type.number;
  return std::nullopt;
}

}  // namespace minke
