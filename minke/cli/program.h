// The whole command line as one function: arguments (without the program's name) to exit code.
#pragma once

#include <string>
#include <vector>

namespace minke {

int RunProgram(std::vector<std::string> arguments);

}  // namespace minke
