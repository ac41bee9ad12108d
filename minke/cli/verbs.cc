#include "minke/cli/command.h"

namespace minke {

void AddVerbs(CLI::App& app, CliContext& context) {
  (void)app, (void)context;
}

}  // namespace minke
