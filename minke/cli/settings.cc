#include "minke/cli/settings.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "minke/base/nearest_name.h"

extern "C" char** environ;

namespace minke {
namespace {

std::string WithDashes(std::string name) {
  std::ranges::replace(name, '_', '-');
  return name;
}

const CLI::App* FindVerb(const CLI::App& app, const std::string& name) {
  for (const CLI::App* verb : app.get_subcommands({})) {
    if (verb->get_name() == name) return verb;
  }
  return nullptr;
}

// Of an app and all verbs below it, sorted; --help and --version are flags but no settings.
std::vector<std::string> SettingNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_configurable()) continue;
    for (const std::string& name : option->get_lnames()) names.push_back(name);
  }
  for (const CLI::App* verb : app.get_subcommands({})) {
    const std::vector<std::string> below = SettingNames(*verb);
    names.insert(names.end(), below.begin(), below.end());
  }
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

// The verbs that were asked for, each with the section of a configuration file that is its own: `template encode` reads
// [template].
struct Scope {
  CLI::App* app;
  std::string section;
};
std::vector<Scope> ScopesInUse(CLI::App& app) {
  std::vector<Scope> scopes = {{&app, ""}};
  for (size_t i = 0; i < scopes.size(); ++i) {
    for (CLI::App* verb : scopes[i].app->get_subcommands())
      scopes.push_back({verb, i == 0 ? verb->get_name() : scopes[i].section});
  }
  return scopes;
}

std::vector<CLI::Option*> OpenFlags(CLI::App& app) {
  std::vector<CLI::Option*> open;
  for (CLI::Option* option : app.get_options()) {
    if (option->get_configurable() && !option->get_lnames().empty() && option->count() == 0) open.push_back(option);
  }
  return open;
}

// A typo is found whatever verb runs; an empty variable is no wish.
Status CheckVariables(const CLI::App& app, const std::map<std::string, std::string>& environment) {
  const std::vector<std::string> flags = SettingNames(app);
  std::vector<std::string> known;
  for (const std::string& flag : flags) known.push_back(EnvironmentName(flag));
  for (const auto& [name, value] : environment) {
    if (value.empty() || std::ranges::find(known, name) != known.end()) continue;
    std::string flag = WithDashes(name.substr(std::string_view("MINKE_").size()));
    for (char& c : flag) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const std::string near = NearestName(flag, flags);
    return Fail(Code::kInvalidArgument, "{}: unknown variable: {}", name,
                near.empty() ? "no flag has this name: unset it" : "did you mean " + EnvironmentName(near) + "?");
  }
  return {};
}

// CLI11 converts and validates, and reports by exceptions, which stay in here.
Status Set(CLI::Option& option, const std::string& flag, const std::vector<std::string>& values,
           const std::string& source) {
  try {
    for (const std::string& value : values) {
      const bool is_switch = option.get_items_expected_max() == 0;
      option.add_result(is_switch ? option.get_flag_value(flag, value) : value);
    }
    option.run_callback();
    return {};
  } catch (const std::exception& error) {
    return Fail(Code::kInvalidArgument, "{}: {}", source, error.what());
  }
}

}  // namespace

std::string EnvironmentName(std::string_view flag) {
  std::string name = "MINKE_";
  for (const char c : flag) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

std::vector<std::string> FlagNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back(name);
  for (const CLI::App* verb : app.get_subcommands()) {
    const std::vector<std::string> below = FlagNames(*verb);
    names.insert(names.end(), below.begin(), below.end());
  }
  return names;
}

namespace {

// CLI11 does not say where a key without a name stood: the first line that starts with its '='.
std::string LineWithoutKey(const std::string& text) {
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const size_t first = line.find_first_not_of(" \t\"'");
    if (first != line.npos && line[first] == '=')
      return fmt::format("line {}: \"{}\" has no key before the =", number, line.substr(0, 80));
  }
  return "a line has no key before the =";
}

}  // namespace

Result<std::vector<ConfigKey>> ParseConfigFile(const std::string& text, const std::string& where) {
  std::vector<ConfigKey> keys;
  try {
    std::istringstream stream(text);
    for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(stream)) {
      if (item.name == "++" || item.name == "--") continue;  // CLI11's marks for the borders of a section
      if (item.parents.size() > 1)
        return Fail(Code::kInvalidArgument, "{}: {}: section in a section", where, item.fullname());
      if (item.name.empty()) return Fail(Code::kInvalidArgument, "{}: {}", where, LineWithoutKey(text));
      keys.push_back({item.parents.empty() ? "" : item.parents[0], WithDashes(item.name), item.inputs});
    }
  } catch (const std::exception& error) {
    return Fail(Code::kInvalidArgument, "{}: {}", where, error.what());
  }
  return keys;
}

Status ApplySettings(CLI::App& app, const std::map<std::string, std::string>& environment,
                     const std::vector<ConfigKey>& config, const std::string& config_path) {
  MINKE_TRY(CheckVariables(app, environment));
  for (const ConfigKey& key : config) {  // all of the file, also for other verbs: a typo shows at once
    std::vector<std::string> known = SettingNames(app);
    if (!key.verb.empty()) {
      const CLI::App* verb = FindVerb(app, key.verb);
      if (!verb) {
        std::vector<std::string> verbs;
        for (const CLI::App* each : app.get_subcommands({})) verbs.push_back(each->get_name());
        const std::string near = NearestName(key.verb, verbs);
        return Fail(Code::kInvalidArgument, "{}: unknown section [{}]{}", config_path, key.verb,
                    near.empty() ? "" : ": did you mean [" + near + "]?");
      }
      known = SettingNames(*verb);
    }
    if (std::ranges::binary_search(known, key.name)) continue;
    const std::string near = NearestName(key.name, known);
    return Fail(Code::kInvalidArgument, "{}: unknown key {}{}", config_path, key.name,
                near.empty() ? "" : ": did you mean " + near + "?");
  }

  for (const Scope& scope : ScopesInUse(app)) {
    for (CLI::Option* option : OpenFlags(*scope.app)) {
      bool set = false;
      for (const std::string& flag : option->get_lnames()) {
        const auto variable = environment.find(EnvironmentName(flag));
        if (set || variable == environment.end() || variable->second.empty()) continue;
        MINKE_TRY(Set(*option, flag, {variable->second}, variable->first));
        set = true;
      }
      for (const bool in_section : {true, false}) {
        for (const ConfigKey& key : config) {
          if (set || !option->check_lname(key.name) || key.verb != (in_section ? scope.section : "")) continue;
          MINKE_TRY(Set(*option, key.name, key.values, config_path + ": " + key.name));
          set = true;
        }
      }
    }
  }
  return {};
}

std::map<std::string, std::string> MinkeEnvironment() {
  std::map<std::string, std::string> found;
  for (char** entry = environ; entry && *entry; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (text.starts_with("MINKE_") && equals != text.npos)
      found.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return found;
}

std::string ConfigPath(const std::string& flag) {
  if (!flag.empty()) return flag;
  const char* xdg = std::getenv("XDG_CONFIG_HOME");
  const char* home = std::getenv("HOME");
  std::string path;
  if (xdg && *xdg)
    path = std::string(xdg) + "/minke/config.toml";
  else if (home && *home)
    path = std::string(home) + "/.config/minke/config.toml";
  std::error_code ignored;
  return !path.empty() && std::filesystem::exists(path, ignored) ? path : "";
}

}  // namespace minke
