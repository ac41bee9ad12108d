// How a verb joins the command line. One verb is one cmd_*.cc with its flags struct:
//
//   struct EchoFlags {
//     std::string model;
//     bool loud = false;
//   };
//   Status Echo(const EchoFlags& flags, CliContext& context) { return context.out.Write(flags.model + "\n"); }
//   void AddEchoCommand(FlagSet program, CliContext& context) {
//     auto flags = std::make_shared<EchoFlags>();
//     const auto run = [flags, &context] { return Echo(*flags, context); };
//     FlagSet verb = AddVerb(program, context, "echo", "Print MODEL", run);
//     verb.Required("MODEL", flags->model, kModelHelp);
//     verb.Switch("--loud", flags->loud, "In capitals");
//   }
//
// and one line in verbs.cc. A verb returns a Status; main turns its Code into the exit code and its message into one
// line on standard error, so write messages as "what: where: what to do". Parsing never runs a verb: the flags are
// final (flag > MINKE_* > configuration file > default, settings.h) when it is called.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "minke/base/result.h"
#include "minke/cli/flag_set.h"
#include "minke/cli/output.h"

namespace minke {

inline constexpr const char* kModelHelp =
    "Folder, .gguf file, .safetensors file or index, hub name org/name[@rev], or a built-in one: nano, nano-sft, "
    "nano-standard";

enum class ColorMode { kAuto, kAlways, kNever };

// What all verbs share. Lives in main for the whole run; single-threaded.
struct CliContext {
  Output out;                  // standard output: data, and only data
  std::string isa;             // kernel set to force, "" for the best
  int threads = 0;             // 0: as many as the process may use
  bool quiet = false;          // no progress, no facts, no notes
  bool verbose = false;        // more detail
  std::string color = "auto";  // auto, always, never
  std::string config_file;
  std::function<Status()> action;  // set by parsing, run by main

  // One line on standard error: "minke: text". Note is for facts (silent with --quiet), Warn is not.
  void Note(std::string_view text) const;
  void Warn(std::string_view text) const;
  int ThreadCount() const;  // `threads`, or what affinity and cgroup allow
};

// Adds the subcommand `name`; `run` is called once, after parsing and settings.
FlagSet AddVerb(FlagSet program, CliContext& context, const std::string& name, const std::string& description,
                std::function<Status()> run);

// All verbs, in the order in which help lists them (verbs.cc).
void AddVerbs(FlagSet program, CliContext& context);

void AddRunCommand(FlagSet program, CliContext& context);
void AddChatCommand(FlagSet program, CliContext& context);
void AddInspectCommand(FlagSet program, CliContext& context);
void AddTokenizeCommand(FlagSet program, CliContext& context);
void AddTokenizerCommand(FlagSet program, CliContext& context);
void AddTemplateCommand(FlagSet program, CliContext& context);
void AddScoreCommand(FlagSet program, CliContext& context);
void AddGradCommand(FlagSet program, CliContext& context);
void AddTrainCommand(FlagSet program, CliContext& context);
void AddRlCommand(FlagSet program, CliContext& context);
void AddLabCommand(FlagSet program, CliContext& context);
void AddPerplexityCommand(FlagSet program, CliContext& context);
void AddQuantizeCommand(FlagSet program, CliContext& context);
void AddConvertCommand(FlagSet program, CliContext& context);
void AddTasksCommand(FlagSet program, CliContext& context);
void AddMakeDataCommand(FlagSet program, CliContext& context);
void AddEvalCommand(FlagSet program, CliContext& context);
void AddBenchCommand(FlagSet program, CliContext& context);
void AddDoctorCommand(FlagSet program, CliContext& context);

}  // namespace minke
