// What a tokenizer.json says, read in one pass and checked for form only; tokenizer.cc gives it meaning.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "minke/base/json.h"
#include "minke/base/result.h"

namespace minke {

struct TokenizerFile {
  std::vector<std::pair<std::string, int64_t>> vocab;       // model.vocab, in the file's order
  std::vector<std::pair<std::string, std::string>> merges;  // model.merges: "a b" or ["a", "b"]
  Json rest;                                                // everything else; the two above are null in it
};

// The vocabulary and the merges, nearly all of the file, go straight into the two lists (a tree of JSON values would
// take five times as long and ten times the memory). `where` starts every message. Errors: kDamaged.
Result<TokenizerFile> ReadTokenizerFile(std::string_view text, std::string_view where);

}  // namespace minke
