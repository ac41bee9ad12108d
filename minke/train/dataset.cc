#include "minke/train/dataset.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "minke/base/check.h"
#include "minke/base/rng.h"

namespace minke {
namespace {

// Philox streams of this file, apart from those of sampling and initialisation under the same seed.
constexpr uint64_t kShuffleStream = uint64_t{0x44415441} << 32;  // "DATA"
// Mapped pages are given back after so many bytes of lines.
constexpr int64_t kKeptBytes = int64_t{64} << 20, kPageBytes = 4096;

std::string_view Text(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

int64_t Sequence::num_targets() const { return std::ranges::count(loss, 1); }

// Fisher and Yates, from the last place down.
std::vector<uint32_t> EpochOrder(uint64_t seed, int64_t epoch, int64_t count) {
  std::vector<uint32_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0u);
  const Philox random(seed, kShuffleStream + static_cast<uint64_t>(epoch));
  for (int64_t i = count - 1; i > 0; --i)
    std::swap(order[i], order[static_cast<int64_t>(random.Uniform(i) * static_cast<double>(i + 1))]);
  return order;
}

Result<Dataset> Dataset::Open(const std::vector<std::string>& files, const DocumentEncoder& encoder,
                              const DatasetOptions& options) {
  Dataset data(encoder, options);
  if (files.empty()) return Fail(Code::kInvalidArgument, "no data files given");
  for (const std::string& path : files) MINKE_TRY(data.Index(path));
  if (data.begins_.empty())
    return Fail(Code::kInvalidArgument, "{}: no line of data{}", files[0],
                files.size() > 1 ? ", nor in the others" : "");
  if (data.num_lines() > UINT32_MAX) return Fail(Code::kUnsupported, "{}: more than 4 billion lines of data", files[0]);
  data.StartEpoch(0);
  return data;
}

Status Dataset::Index(const std::string& path) {
  MINKE_ASSIGN(MappedFile file, MappedFile::Open(path));
  const std::string_view text = Text(file);
  first_line_.push_back(num_lines());
  hash_ = Fnv1a(text, hash_);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (text.substr(begin, end - begin).find_first_not_of(" \t\r") != text.npos) begins_.push_back(begin);
    begin = end + 1;
  }
  MINKE_TRY(file.Health());
  file.LetGo();
  files_.push_back(std::move(file));
  return {};
}

void Dataset::StartEpoch(int64_t epoch) {
  epoch_ = epoch;
  place_ = token_ = 0;
  loaded_place_ = -1;
  usable_ = false;
  if (options_.shuffle) order_ = EpochOrder(options_.seed, epoch, num_lines());
}

void Dataset::NextLine() {
  ++place_;
  token_ = 0;
  loaded_place_ = -1;
}

Dataset::Place Dataset::Find(int64_t line) const {
  const auto file = std::ranges::upper_bound(first_line_, line) - first_line_.begin() - 1;
  const std::string_view text = Text(files_[file]);
  const size_t begin = begins_[line], end = std::min(text.find('\n', begin), text.size());
  return {static_cast<size_t>(file), begin, text.substr(begin, end - begin)};
}

std::string Dataset::Where(const Place& place) const {
  const std::string_view before = Text(files_[place.file]).substr(0, place.begin);
  return fmt::format("{}:{}", files_[place.file].path(), 1 + std::ranges::count(before, '\n'));
}

// The error does not say where: finding a line's number reads the file from its start.
Result<Document> Dataset::Read(std::string_view line) const {
  if (static_cast<int64_t>(line.size()) > kMaxLineBytes)
    return Fail(Code::kInvalidArgument, "the line has {} bytes, more than {}", line.size(), kMaxLineBytes);
  MINKE_ASSIGN(const DataLine parsed, DataLine::Parse(line));
  return encoder_.Encode(parsed);
}

Status Dataset::Load(int64_t max_tokens) {
  if (loaded_place_ == place_ && loaded_tokens_ == max_tokens) return {};
  const Place at = Find(order_.empty() ? place_ : order_[place_]);
  auto document = Read(at.line);
  MINKE_TRY(files_[at.file].Health());  // before the line is blamed for what could not be read
  read_bytes_ += static_cast<int64_t>(at.line.size()) + kPageBytes;
  if (read_bytes_ > kKeptBytes) {
    for (const MappedFile& file : files_) file.LetGo();
    read_bytes_ = 0;
  }
  document_ = {};
  if (!document) {
    if (!options_.skip_bad_lines)
      return Fail(document.error().code, "{}: {} (skip_bad_lines leaves such lines out and counts them)", Where(at),
                  document.error().message);
    ++counts_.bad_lines;
    return {};
  }
  if (!document->is_text && static_cast<int64_t>(document->tokens.size()) > max_tokens) {
    if (options_.long_messages == DatasetOptions::TooLong::kCut) {
      document->tokens.resize(max_tokens);
      document->loss.resize(max_tokens);
    }
    if (options_.long_messages == DatasetOptions::TooLong::kDrop || std::ranges::count(document->loss, 1) == 0) {
      ++counts_.dropped;
      return {};
    }
    ++counts_.cut;
  }
  if (token_ >= static_cast<int64_t>(document->tokens.size()))
    return Fail(Code::kCannotResume,
                "the data cursor stands at token {} of a document of {}: it is of another tokenizer", token_,
                document->tokens.size());
  document_ = std::move(*document);
  loaded_place_ = place_;
  loaded_tokens_ = max_tokens;
  return {};
}

Status Dataset::Next(int64_t max_tokens, Sequence& sequence) {
  const DataCursor before = cursor();
  Status filled = Fill(max_tokens, sequence);
  if (!filled) MINKE_CHECK(Restore(before));
  return filled;
}

Status Dataset::Fill(int64_t max_tokens, Sequence& sequence) {
  if (max_tokens < 2)
    return Fail(Code::kInvalidArgument, "sequences of {} tokens have nothing to predict: take 2 or more", max_tokens);
  sequence = {};
  for (;;) {
    if (place_ == num_lines()) {
      if (!usable_)
        return Fail(Code::kInvalidArgument, "{}: no usable line: {} bad, {} dropped as longer than {} tokens",
                    files_[0].path(), counts_.bad_lines, counts_.dropped, max_tokens);
      StartEpoch(epoch_ + 1);
      if (!sequence.tokens.empty()) return {};
    }
    MINKE_TRY(Load(max_tokens));
    if (document_.tokens.empty()) {
      NextLine();
      continue;
    }
    const auto size = static_cast<int64_t>(document_.tokens.size());
    const int64_t length = std::min(size - token_, max_tokens);
    if (static_cast<int64_t>(sequence.tokens.size()) + length > max_tokens) return {};  // it begins the next one
    const auto tokens = document_.tokens.begin() + token_;
    const auto loss = document_.loss.begin() + token_;
    sequence.tokens.insert(sequence.tokens.end(), tokens, tokens + length);
    const size_t first = sequence.loss.size();
    sequence.loss.insert(sequence.loss.end(), loss, loss + length);
    sequence.loss[first] = 0;
    sequence.lengths.push_back(length);
    usable_ = true;
    ++counts_.documents;
    counts_.tokens += length;
    counts_.targets += std::count(sequence.loss.begin() + static_cast<ptrdiff_t>(first), sequence.loss.end(), 1);
    if (token_ + length == size) {
      NextLine();
    } else {
      if (token_ == 0) ++counts_.cut;
      token_ += length - 1;  // the last token again, as what the next one is predicted from
    }
  }
}

DataCursor Dataset::cursor() const { return {epoch_, place_, token_, hash_, counts_}; }

Status Dataset::Restore(const DataCursor& cursor) {
  if (cursor.data_hash != hash_)
    return Fail(
        Code::kCannotResume,
        "{}: the data has changed since the checkpoint was written ({:016x}, now {:016x}); put it back to go on",
        files_[0].path(), cursor.data_hash, hash_);
  if (cursor.epoch < 0 || cursor.place < 0 || cursor.place > num_lines() || cursor.token < 0)
    return Fail(Code::kCannotResume, "the data cursor stands at line {} of {}", cursor.place, num_lines());
  StartEpoch(cursor.epoch);
  place_ = cursor.place;
  token_ = cursor.token;
  counts_ = cursor.counts;
  usable_ = place_ > 0 || token_ > 0;
  return {};
}

namespace {
// The counts under their names: written and read by one list.
template <class Counts, class F>
void ForEachCount(Counts& counts, F f) {
  f("documents", counts.documents);
  f("tokens", counts.tokens);
  f("targets", counts.targets);
  f("bad_lines", counts.bad_lines);
  f("dropped", counts.dropped);
  f("cut", counts.cut);
}
}  // namespace

OrderedJson DataCursor::ToJson() const {
  OrderedJson json;
  json["epoch"] = epoch;
  json["place"] = place;
  json["token"] = token;
  json["data_hash"] = fmt::format("{:016x}", data_hash);
  ForEachCount(counts, [&](const char* name, int64_t count) { json[name] = count; });
  return json;
}

Result<DataCursor> DataCursor::FromJson(const Json& json, std::string_view where) {
  DataCursor cursor;
  std::string wrong;
  const auto read = [&](const char* name, int64_t& value) {
    const auto field = json.is_object() ? json.find(name) : json.end();
    if (field != json.end() && field->is_number_integer() && *field >= 0 && *field <= INT64_MAX) {
      value = field->get<int64_t>();
    } else if (wrong.empty()) {
      wrong = name;
    }
  };
  read("epoch", cursor.epoch);
  read("place", cursor.place);
  read("token", cursor.token);
  ForEachCount(cursor.counts, read);
  const auto hash = json.is_object() ? json.find("data_hash") : json.end();
  const std::string digits = hash != json.end() && hash->is_string() ? hash->get<std::string>() : "";
  if (digits.size() != 16 || digits.find_first_not_of("0123456789abcdef") != digits.npos) {
    if (wrong.empty()) wrong = "data_hash";
  } else {
    cursor.data_hash = std::stoull(digits, nullptr, 16);
  }
  if (!wrong.empty()) return Fail(Code::kDamaged, "{}: the data cursor has no valid \"{}\"", where, wrong);
  return cursor;
}

}  // namespace minke
