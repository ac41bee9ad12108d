#include "minke/cli/program.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <new>

#include "minke/base/file.h"
#include "minke/base/nearest_name.h"
#include "minke/cli/command.h"
#include "minke/cli/settings.h"
#include "minke/cli/signals.h"
#include "minke/cli/terminal.h"
#include "minke/cli/version.h"
#include "minke/kernels/kernel_set.h"

namespace minke {
namespace {

void AddSharedFlags(FlagSet program, CliContext& context) {
  program.Switch("-q,--quiet", context.quiet, "No progress, no facts: only data and errors");
  program.Switch("-v,--verbose", context.verbose, "More detail on standard error");
  program.Choice("--color", context.color, {"auto", "always", "never"}, "auto, always or never");
  program.Text("--isa", context.isa, "Kernel set to use, as listed by --version (default: the best of this CPU)");
  program.Number("-t,--threads", context.threads, 0, 1024, "Threads (default: as many as this process may use)");
  program.Text("--config", context.config_file, "Settings file (default: $XDG_CONFIG_HOME/minke/config.toml)");
}

std::vector<std::string> VerbNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands({})) names.push_back(verb->get_name());
  return names;
}

std::string UnknownVerb(const CLI::App& app, const std::string& name) {
  const std::string near = NearestName(name, VerbNames(app));
  return fmt::format("unknown verb {}: {}", name, near.empty() ? "see minke --help" : "did you mean " + near + "?");
}

// A wrong flag or verb, with the nearest one there is.
std::string Explain(const CLI::App& app, const CLI::ParseError& error) {
  const auto verbs = app.get_subcommands();
  const std::string help = verbs.empty() ? "minke --help" : "minke " + verbs[0]->get_name() + " --help";
  const std::vector<std::string> rest = app.remaining(true);
  if (verbs.empty() && !rest.empty() && !rest[0].starts_with("-")) {
    return UnknownVerb(app, rest[0]);
  }
  for (const std::string& argument : rest) {
    if (argument.size() < 2 || argument[0] != '-') continue;
    const std::string name = argument.substr(0, argument.find('='));
    const size_t letters = name.find_first_not_of('-');
    const std::string near = letters == std::string::npos ? "" : NearestName(name.substr(letters), FlagNames(app));
    if (near.empty() || name == "--" + near)  // right, but before the verb that has it: tokenizer --x train
      return fmt::format("unknown flag {}{}: see {}", name, near.empty() ? "" : " in this place", help);
    return fmt::format("unknown flag {}: did you mean --{}? (see {})", name, near, help);
  }
  return fmt::format("{}: see {}", error.what(), help);
}

int Report(const CliContext& context, const Status& status) {
  if (context.out.closed()) return 0;  // whoever read the output has had enough
  if (status) return 0;
  if (!status.error().message.empty()) WriteStderr("minke: " + OneLine(status.error().message) + "\n");
  return status.error().code == Code::kCancelled ? SignalExitCode() : ExitCode(status.error().code);
}

Status Settle(CLI::App& app, CliContext& context) {
  const auto environment = MinkeEnvironment();
  if (const auto named = environment.find("MINKE_CONFIG"); context.config_file.empty() && named != environment.end()) {
    context.config_file = named->second;
  }
  const std::string path = ConfigPath(context.config_file);
  std::vector<ConfigKey> config;
  if (!path.empty()) {
    MINKE_ASSIGN(const std::string text, ReadFile(path, int64_t{1} << 20));
    MINKE_ASSIGN(config, ParseConfigFile(text, path));
  }
  return ApplySettings(app, environment, config, path);
}

Status Act(const CliContext& context) {
  try {
    return context.action();
  } catch (const std::bad_alloc&) {
    return Fail(Code::kNoMemory,
                "out of memory: the operating system refused an allocation: "
                "use a smaller model or --context");
  } catch (const std::exception& error) {  // a library's that its caller did not expect
    return Fail(Code::kFailed, "unexpected failure: {}", error.what());
  }
}

}  // namespace

int RunProgram(std::vector<std::string> arguments) {
  std::signal(SIGPIPE, SIG_IGN);
  InstallSignals();
  CliContext context;
  CLI::App app("minke: DeepSeek-V3.2 and its relatives on the machine you have", "minke");
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  bool version = false;
  app.add_flag("--version", version, "Version, commit, compiler, instruction sets")->configurable(false);
  AddSharedFlags(FlagSet(app), context);
  AddVerbs(FlagSet(app), context);
  app.footer("\"minke help VERB\" shows a verb's flags. Every flag --like-this has a variable MINKE_LIKE_THIS.");

  if (arguments.empty()) {
    WriteStderr(app.help());
    return ExitCode(Code::kInvalidArgument);
  }
  if (std::ranges::find(arguments, "--version") != arguments.end()) {
    version = true;
    app.require_subcommand(0, 1);
  }
  if (arguments[0] == "help") {  // help VERB is VERB --help
    arguments.erase(arguments.begin());
    if (!arguments.empty() && std::ranges::count(VerbNames(app), arguments[0]) == 0) {
      return Report(context, Fail(Code::kInvalidArgument, "{}", UnknownVerb(app, arguments[0])));
    }
    arguments.push_back("--help");
  }
  std::ranges::reverse(arguments);  // as CLI11 takes them
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    const auto verbs = app.get_subcommands();
    const Status status = context.out.WriteLine(verbs.empty() ? app.help() : verbs[0]->help("minke"));
    return Report(context, status);
  } catch (const CLI::ParseError& error) {
    return Report(context, Fail(Code::kInvalidArgument, "{}", Explain(app, error)));
  }
  if (const Status settled = Settle(app, context); !settled) return Report(context, settled);
  if (version) {
    Status status = context.out.Write(VersionText(context.isa));
    if (status) status = context.out.Flush();
    if (const auto chosen = ChooseKernelSet(context.isa); status && !chosen) status = Fail(chosen.error());
    return Report(context, status);
  }
  Status status = Act(context);
  if (const Status flushed = context.out.Flush(); status) status = flushed;
  return Report(context, status);
}

}  // namespace minke
