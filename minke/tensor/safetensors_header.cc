#include "minke/tensor/safetensors_header.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "minke/tensor/tensor_file.h"

namespace minke {
namespace {

constexpr size_t kMaxRank = 16;

// Receives nlohmann's events and returns false, with `error` set, at the first thing that is not a header.
class HeaderReader {
 public:
  explicit HeaderReader(std::string_view where) : where_(where) {}

  std::map<std::string, HeaderEntry, std::less<>> entries;
  Error error;

  bool null() { return Unexpected("null"); }
  bool boolean(bool) { return Unexpected("a boolean"); }
  bool number_integer(int64_t value) { return Refuse("{}holds the negative number {}", About(), value); }
  bool number_float(double, const std::string& text) {
    return Refuse("{}holds the number {}, expected an integer below 2^63", About(), NameForMessage(text));
  }
  bool number_unsigned(uint64_t value) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return Refuse("{}holds the number {}, expected an integer below 2^63", About(), value);
    const auto number = static_cast<int64_t>(value);
    if (place_ == Place::kShape) {
      if (entry_.shape.size() == kMaxRank) return Refuse("{}has more than {} dimensions", About(), kMaxRank);
      entry_.shape.push_back(number);
      return true;
    }
    if (place_ == Place::kOffsets) {
      if (num_offsets_ == 2) return Refuse("{}has more than two data_offsets", About());
      (num_offsets_++ == 0 ? entry_.begin : entry_.end) = number;
      return true;
    }
    return Unexpected("a number");
  }
  bool string(std::string& text) {
    if (place_ == Place::kMetadata) return true;
    if (place_ != Place::kEntry || field_ != kDtype) return Unexpected("a string");
    const std::optional<DType> dtype = DTypeFromName(text);
    if (!dtype) {
      Refuse("{}has the dtype \"{}\", which minke does not read", About(), NameForMessage(text));
      error.code = Code::kUnsupported;
      return false;
    }
    entry_.dtype = *dtype;
    seen_ |= kDtype;
    return true;
  }
  bool binary(nlohmann::json::binary_t&) { return Unexpected("binary data"); }

  bool start_object(size_t) {
    switch (place_) {
      case Place::kStart:
        place_ = Place::kRoot;
        return true;
      case Place::kRoot:
        entry_ = {}, seen_ = 0, field_ = kNone, num_offsets_ = 0;
        place_ = name_ == "__metadata__" ? Place::kMetadata : Place::kEntry;
        return true;
      default:
        return Unexpected("an object");
    }
  }
  bool end_object() {
    if (place_ == Place::kEntry && !Finish()) return false;
    place_ = place_ == Place::kRoot ? Place::kEnd : Place::kRoot;
    return true;
  }
  bool start_array(size_t) {
    if (place_ == Place::kEntry && (field_ == kShape || field_ == kOffsets)) {
      place_ = field_ == kShape ? Place::kShape : Place::kOffsets;
      return true;
    }
    return Unexpected("an array");
  }
  bool end_array() {
    if (place_ == Place::kOffsets && num_offsets_ != 2) return Refuse("{}needs two data_offsets", About());
    seen_ |= field_;
    place_ = Place::kEntry;
    return true;
  }
  bool key(std::string& name) {
    if (place_ == Place::kMetadata) return true;
    if (place_ == Place::kRoot) {
      name_ = name;
      const bool repeated = name == "__metadata__" ? std::exchange(seen_metadata_, true) : entries.contains(name);
      if (repeated) return Refuse("the name \"{}\" appears twice", NameForMessage(name));
      return true;
    }
    field_ = name == "dtype" ? kDtype : name == "shape" ? kShape : name == "data_offsets" ? kOffsets : kNone;
    if (field_ == kNone) return Refuse("{}has the unknown field \"{}\"", About(), NameForMessage(name));
    if (seen_ & field_) return Refuse("{}has the field \"{}\" twice", About(), name);
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
    return Refuse("the header is not valid JSON at byte {}", position);
  }

 private:
  enum class Place { kStart, kRoot, kMetadata, kEntry, kShape, kOffsets, kEnd };
  enum Field : unsigned { kNone = 0, kDtype = 1, kShape = 2, kOffsets = 4 };

  bool Finish() {
    if (seen_ != (kDtype | kShape | kOffsets))
      return Refuse("{}lacks \"{}\"", About(),
                    !(seen_ & kDtype)   ? "dtype"
                    : !(seen_ & kShape) ? "shape"
                                        : "data_offsets");
    if (entry_.begin > entry_.end)
      return Refuse("{}has data_offsets [{}, {}], which run backwards", About(), entry_.begin, entry_.end);
    entries.emplace(std::move(name_), std::move(entry_));
    return true;
  }
  std::string About() const {
    return place_ == Place::kStart || place_ == Place::kEnd ? "the header "
                                                            : fmt::format("tensor {} ", NameForMessage(name_));
  }
  bool Unexpected(const char* what) { return Refuse("{}holds {} where none belongs", About(), what); }
  template <class... Args>
  bool Refuse(fmt::format_string<Args...> format, Args&&... args) {
    error = {Code::kDamaged, fmt::format("{}: {}", where_, fmt::format(format, std::forward<Args>(args)...))};
    return false;
  }

  std::string where_;
  Place place_ = Place::kStart;
  std::string name_;
  HeaderEntry entry_;
  Field field_ = kNone;
  unsigned seen_ = 0;
  int num_offsets_ = 0;
  bool seen_metadata_ = false;
};

}  // namespace

Result<std::map<std::string, HeaderEntry, std::less<>>> ParseHeader(std::string_view json, std::string_view where) {
  HeaderReader reader(where);
  const bool ok = nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  if (!ok) return Fail(std::move(reader.error));
  return std::move(reader.entries);
}

}  // namespace minke
