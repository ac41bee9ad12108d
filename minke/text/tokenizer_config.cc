#include "minke/text/tokenizer_config.h"

#include "minke/base/file.h"
#include "minke/base/json.h"

namespace minke {
namespace {

constexpr int64_t kMaxBytes = 16 << 20;  // DeepSeek-V3's has 3 KB, others list every added token

}  // namespace

Result<bool> AddsBeginToken(std::string_view tokenizer_config, std::string_view where) {
  MINKE_ASSIGN(const Json config, ParseJson(tokenizer_config, where));
  if (!config.is_object()) return Fail(Code::kDamaged, "{}: not an object", where);
  const auto field = config.find("add_bos_token");
  if (field == config.end() || field->is_null()) return false;
  if (!field->is_boolean()) return Fail(Code::kDamaged, "{}: add_bos_token is not true or false", where);
  return field->get<bool>();
}

Result<bool> FolderAddsBeginToken(const std::string& folder) {
  const std::string path = folder + "/tokenizer_config.json";
  const auto text = ReadFile(path, kMaxBytes);
  if (!text && text.error().code == Code::kNotFound) return false;
  if (!text) return Fail(text.error());
  return AddsBeginToken(*text, path);
}

}  // namespace minke
