#include "minke/cli/command.h"

namespace minke {

void AddVerbs(CLI::App& app, CliContext& context) {
  AddScoreCommand(app, context);
}

}  // namespace minke
