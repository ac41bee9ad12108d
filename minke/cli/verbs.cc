#include "minke/cli/command.h"

namespace minke {

void AddVerbs(CLI::App& app, CliContext& context) {
  AddRunCommand(app, context);
  AddChatCommand(app, context);
  AddInspectCommand(app, context);
  AddTokenizeCommand(app, context);
  AddTemplateCommand(app, context);
  AddScoreCommand(app, context);
  AddDoctorCommand(app, context);
}

}  // namespace minke
