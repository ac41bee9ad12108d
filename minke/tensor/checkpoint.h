// The tensors of a checkpoint by name: of a folder of safetensors shards, or of any files.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/tensor/tensor_file.h"

namespace minke {

class Checkpoint {
 public:
  // `path`: a folder with model.safetensors or model.safetensors.index.json, or one of those files. Shard names in the
  // index must stay inside the folder (no "..", no absolute path; symbolic links as in the hub's cache are fine).
  static Result<std::unique_ptr<Checkpoint>> Open(const std::string& path);

  // Files opened already, whose tensors have the checkpoint's names. `path` is for messages. Errors: kDamaged for a
  // name that appears twice, and for an empty tensor.
  static Result<std::unique_ptr<Checkpoint>> Of(std::string path, std::vector<std::unique_ptr<TensorFile>> files);

  const std::string& path() const { return path_; }  // of the index, or of the one file
  const TensorRef* Find(std::string_view name) const;
  std::vector<std::string> Names() const;                  // sorted
  const std::string& FileOf(std::string_view name) const;  // path, for error messages; "" if absent
  int64_t total_bytes() const;
  int64_t owned_bytes() const;  // those of total_bytes that are in no file but in private memory
  const std::vector<std::unique_ptr<TensorFile>>& files() const { return files_; }
  // The file whose mapping holds this byte, -1 for none, and where it lies in it.
  struct Place {
    int file = -1;
    int64_t offset = 0;
  };
  Place PlaceOf(const void* byte) const;
  Status Health() const;  // kDamaged if any mapping has failed since

 private:
  Status Add(std::unique_ptr<TensorFile> file);

  std::string path_;
  std::vector<std::unique_ptr<TensorFile>> files_;
  std::map<std::string, std::pair<const TensorRef*, int>, std::less<>> tensors_;  // name -> tensor, file
};

}  // namespace minke
