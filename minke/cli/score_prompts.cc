#include "minke/cli/score_prompts.h"

#include <algorithm>
#include <cstring>

#include "minke/tensor/safetensors.h"

namespace minke {
namespace {

Result<std::vector<TokenId>> ReadIds(const TensorRef& tensor, const std::string& where, int64_t vocab_size) {
  if (tensor.dtype != DType::kI64 || tensor.shape.size() != 1) {
    return Fail(Code::kInvalidArgument, "{}: {} with {} dimensions: expected I64 with one", where,
                DTypeName(tensor.dtype), tensor.shape.size());
  }
  const int64_t count = tensor.num_elements();
  if (count < 1) return Fail(Code::kInvalidArgument, "{}: empty: a prompt needs at least one token", where);
  std::vector<TokenId> ids(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i) {
    int64_t id;
    std::memcpy(&id, tensor.bytes.data() + i * sizeof(id), sizeof(id));
    if (id < 0 || id >= vocab_size) {
      return Fail(Code::kInvalidArgument, "{}[{}]: token id {} is outside the vocabulary of {}", where, i, id,
                  vocab_size);
    }
    ids[i] = static_cast<TokenId>(id);
  }
  return ids;
}

}  // namespace

Result<std::vector<ScorePrompt>> ReadScorePrompts(const std::string& path, int64_t vocab_size) {
  MINKE_ASSIGN(const auto file, OpenSafetensors(path));
  std::vector<ScorePrompt> prompts;
  const auto add = [&](const TensorRef& tensor, const std::string& suffix) -> Status {
    MINKE_ASSIGN(auto ids, ReadIds(tensor, path + ": input_ids" + suffix, vocab_size));
    prompts.push_back({suffix, std::move(ids)});
    return {};
  };
  if (const TensorRef* single = file->Find("input_ids")) MINKE_TRY(add(*single, ""));
  for (size_t i = 0;; ++i) {
    const std::string suffix = fmt::format(".{}", i);
    const TensorRef* tensor = file->Find("input_ids" + suffix);
    if (!tensor) break;
    if (i == 0 && !prompts.empty()) {
      return Fail(Code::kInvalidArgument, "{}: has both input_ids and input_ids.0: keep one of the two forms", path);
    }
    MINKE_TRY(add(*tensor, suffix));
  }
  for (const auto& [name, tensor] : file->tensors()) {
    if (!name.starts_with("input_ids")) continue;  // an expected.safetensors may serve as the prompt's file
    const std::string suffix = name.substr(std::string_view("input_ids").size());
    if (std::ranges::find(prompts, suffix, &ScorePrompt::suffix) == prompts.end()) {
      return Fail(Code::kInvalidArgument,
                  "{}: {} would be left out: number the prompts input_ids.0, input_ids.1, ... without gaps", path,
                  name);
    }
  }
  MINKE_TRY(file->file().Health());
  if (prompts.empty())
    return Fail(Code::kInvalidArgument, "{}: no tensor input_ids or input_ids.0: add one (I64, [S])", path);
  return prompts;
}

}  // namespace minke
