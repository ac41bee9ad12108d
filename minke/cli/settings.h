// Where a flag's value comes from: command line > MINKE_* variable > configuration file > default.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"

namespace CLI {
class App;
}

namespace minke {

// "max-queue" -> "MINKE_MAX_QUEUE".
std::string EnvironmentName(std::string_view flag);

// Every long flag name of the program and of the verbs that were asked for.
std::vector<std::string> FlagNames(const CLI::App& app);

struct ConfigKey {
  std::string verb;  // "" outside any [section]
  std::string name;
  std::vector<std::string> values;
};
// TOML: `key = value`, arrays, and one section for each verb. `where` names the file in errors.
Result<std::vector<ConfigKey>> ParseConfigFile(const std::string& text, const std::string& where);

// Fills the flags of `app` and of the parsed verb that the command line left open. A [verb] section wins over the same
// key outside. Errors: kInvalidArgument for an unknown key or variable (with the nearest name) or a value that does not
// parse.
Status ApplySettings(CLI::App& app, const std::map<std::string, std::string>& environment,
                     const std::vector<ConfigKey>& config, const std::string& config_path);

// The MINKE_* part of this process's environment.
std::map<std::string, std::string> MinkeEnvironment();
// --config FILE, or $XDG_CONFIG_HOME/minke/config.toml, or ~/.config/minke/config.toml. "" when there is none.
std::string ConfigPath(const std::string& flag);

}  // namespace minke
