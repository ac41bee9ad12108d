// JSON at the edge: parsed without exceptions, depth-limited, duplicate keys refused.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "minke/base/result.h"

namespace minke {

using Json = nlohmann::json;                 // keys sorted; for configs, headers, vocabularies
using OrderedJson = nlohmann::ordered_json;  // keys as written; for what we print

struct JsonLimits {
  int max_depth = 64;
  int64_t max_values = int64_t{1} << 22;  // of any kind; a checkpoint index of V3.2 has 0.1 million
};

// `where` names the file or field for the error message. Errors: kDamaged with the byte offset.
Result<Json> ParseJson(std::string_view text, std::string_view where, JsonLimits limits = {});

// One line for output; invalid UTF-8 becomes U+FFFD instead of an exception.
std::string DumpJson(const Json& value);
std::string DumpJson(const OrderedJson& value);

}  // namespace minke
