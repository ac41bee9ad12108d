#include "minke/cli/command.h"

namespace minke {

void AddVerbs(FlagSet program, CliContext& context) {
  AddRunCommand(program, context);
  AddChatCommand(program, context);
  AddInspectCommand(program, context);
  AddTokenizeCommand(program, context);
  AddTokenizerCommand(program, context);
  AddTemplateCommand(program, context);
  AddScoreCommand(program, context);
  AddPerplexityCommand(program, context);
  AddGradCommand(program, context);
  AddTrainCommand(program, context);
  AddRlCommand(program, context);
  AddLabCommand(program, context);
  AddQuantizeCommand(program, context);
  AddConvertCommand(program, context);
  AddTasksCommand(program, context);
  AddMakeDataCommand(program, context);
  AddEvalCommand(program, context);
  AddBenchCommand(program, context);
  AddDoctorCommand(program, context);
}

}  // namespace minke
