// What `minke --version` says.
#pragma once

#include <string>
#include <string_view>

namespace minke {

// Version, commit, compiler, instruction sets built and the one in use (`isa` as given by --isa; "" for the best).
std::string VersionText(std::string_view isa);
std::string_view Version();  // "0.1.0"

}  // namespace minke
