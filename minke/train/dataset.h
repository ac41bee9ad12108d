// Training data as an endless stream of packed sequences: JSON lines from several files (docs/data.md), in an order
// that is a pure function of (seed, epoch), made into tokens as they are asked for. Memory holds 12 bytes a line and
// one document; the files are mapped. A cursor brings back the very same sequences. Single-threaded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/file.h"
#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/train/document.h"
#include "minke/train/fnv.h"

namespace minke {

// Whole documents one after the other. Each is its own attention span: positions begin at 0, no token attends or is
// predicted across a border.
struct Sequence {
  std::vector<TokenId> tokens;
  std::vector<uint8_t> loss;     // by token; 1: a target, to be predicted from the tokens before it in its document
  std::vector<int64_t> lengths;  // of the documents, in tokens; their sum is tokens.size()

  int64_t num_targets() const;
};

struct DatasetOptions {
  enum class TooLong { kDrop, kCut };

  uint64_t seed = 0;
  bool shuffle = true;
  // Messages longer than a sequence: left out, or their first tokens kept. Texts go on in another piece.
  TooLong long_messages = TooLong::kDrop;
  bool skip_bad_lines = false;  // and count them; otherwise the first one is an error
};

// Everything handed out or left out so far.
struct DataCounts {
  int64_t documents = 0;  // pieces of a long text count each
  int64_t tokens = 0, targets = 0;
  int64_t bad_lines = 0, dropped = 0, cut = 0;
  bool operator==(const DataCounts&) const = default;
};

// Where the stream stands: part of a checkpoint.
struct DataCursor {
  int64_t epoch = 0;
  int64_t place = 0;       // in the epoch's order
  int64_t token = 0;       // of the document there: where its next piece begins
  uint64_t data_hash = 0;  // of the data it belongs to
  DataCounts counts;

  OrderedJson ToJson() const;
  static Result<DataCursor> FromJson(const Json& json, std::string_view where);  // kDamaged
  bool operator==(const DataCursor&) const = default;
};

class Dataset {
 public:
  static constexpr int64_t kMaxLineBytes = int64_t{64} << 20;

  // Reads all files once, for the hash and the places of the lines; blank lines are none. Errors: kNotFound, kFailed;
  // kInvalidArgument without a line.
  static Result<Dataset> Open(const std::vector<std::string>& files, const DocumentEncoder& encoder,
                              const DatasetOptions& options);

  // The next documents that fit into max_tokens, in order; at least one, and none of the next epoch. Errors:
  // kInvalidArgument for max_tokens < 2, for a bad line ("FILE:LINE: …") and for an epoch in which nothing is usable;
  // kDamaged for a file that was cut meanwhile. After an error the stream stands at the same place.
  Status Next(int64_t max_tokens, Sequence& sequence);

  DataCursor cursor() const;
  // Errors: kCannotResume for a cursor of other data.
  Status Restore(const DataCursor& cursor);

  int64_t num_lines() const { return static_cast<int64_t>(begins_.size()); }
  // FNV-1a, 64 bits, of all files' bytes one after the other.
  uint64_t hash() const { return hash_; }

 private:
  Dataset(const DocumentEncoder& encoder, const DatasetOptions& options) : encoder_(encoder), options_(options) {}
  Status Index(const std::string& path);
  void StartEpoch(int64_t epoch);
  void NextLine();
  struct Place {
    size_t file = 0, begin = 0;
    std::string_view line;
  };
  Place Find(int64_t line) const;
  std::string Where(const Place& place) const;  // "FILE:LINE"
  Result<Document> Read(std::string_view line) const;
  Status Load(int64_t max_tokens);  // document_ of the current place; leaves it empty when the line is passed over
  Status Fill(int64_t max_tokens, Sequence& sequence);

  DocumentEncoder encoder_;
  DatasetOptions options_;
  std::vector<MappedFile> files_;
  std::vector<int64_t> first_line_;  // of each file
  std::vector<uint64_t> begins_;     // of each line, in its file
  uint64_t hash_ = kFnvStart;

  std::vector<uint32_t> order_;  // the epoch's permutation of lines; empty without shuffle
  int64_t epoch_ = 0, place_ = 0, token_ = 0;
  bool usable_ = false;  // something of this epoch was handed out, or may have been before a Restore
  DataCounts counts_;
  Document document_;
  int64_t loaded_place_ = -1;  // whose document_ is; -1: none
  int64_t read_bytes_ = 0;     // since mapped pages were given back
  int64_t loaded_tokens_ = 0;  // the max_tokens it was loaded for
};

// The order of `count` lines in an epoch.
std::vector<uint32_t> EpochOrder(uint64_t seed, int64_t epoch, int64_t count);

}  // namespace minke
