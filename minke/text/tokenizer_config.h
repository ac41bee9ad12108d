// What tokenizer_config.json says about plain text. Its chat_template is read by chat_template.h.
#pragma once

#include <string>
#include <string_view>

#include "minke/base/result.h"

namespace minke {

// Whether a text that no template wraps gets the begin token in front: the field `add_bos_token`; false where it is
// absent or null. Errors: kDamaged.
Result<bool> AddsBeginToken(std::string_view tokenizer_config, std::string_view where);

// The same of a checkpoint's folder; without the file false. Errors: kDamaged.
Result<bool> FolderAddsBeginToken(const std::string& folder);

}  // namespace minke
