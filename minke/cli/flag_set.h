// How verbs declare their flags. flag_set.cc hides CLI11 from them, because its header costs the compiler five seconds
// wherever it is included; only program.cc and settings.cc, which drive the parser, see it too.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace minke {

// The flags of the program or of one of its verbs; a view, copied freely. The values outlive the parser; a flag that is
// not given leaves its value alone. `names` as the user writes them: "-n,--max-tokens", "MODEL" for a positional,
// "-m,--model,MODEL" for either.
class FlagSet {
 public:
  explicit FlagSet(CLI::App& app) : app_(&app) {}
  FlagSet Verb(const std::string& name, const std::string& description);
  FlagSet Verbs(const std::string& name, const std::string& description);  // whose own verbs follow, one of them needed

  void Text(const std::string& names, std::string& value, const std::string& help);
  void Required(const std::string& name, std::string& value, const std::string& help);  // a positional
  void Choice(const std::string& names, std::string& value, std::vector<std::string> choices, const std::string& help);
  void Words(const std::string& name, std::vector<std::string>& values, const std::string& help);  // all that are left
  void Repeated(const std::string& names, std::vector<std::string>& values, const std::string& help);  // one a flag

  // Whole numbers are read whole: "-1" is no seed and "7x" no number.
  void Number(const std::string& names, int& value, int least, int most, const std::string& help);
  void Number(const std::string& names, int64_t& value, int64_t least, int64_t most, const std::string& help);
  void Number(const std::string& names, float& value, float least, float most, const std::string& help);
  void Number(const std::string& names, double& value, double least, double most, const std::string& help);
  void Number(const std::string& names, std::optional<int64_t>& value, int64_t least, int64_t most,
              const std::string& help);
  void Number(const std::string& names, std::optional<uint64_t>& value, uint64_t least, uint64_t most,
              const std::string& help);
  void Number(const std::string& names, std::optional<float>& value, float least, float most, const std::string& help);

  // With or without a value: "--dashboard", then `value` is 0, or "--dashboard 8000".
  void Port(const std::string& names, std::optional<int>& value, const std::string& help);

  void Bytes(const std::string& names, int64_t& value, const std::string& help);  // "8G", "500MiB"
  // Whole numbers with commas between them, "k" for 1024: "0,4k,16K". Given again, the flag goes on with its list.
  void Numbers(const std::string& names, std::vector<int64_t>& values, int64_t least, int64_t most,
               const std::string& help);
  // Some of `choices`, with commas between them.
  void Choices(const std::string& names, std::vector<std::string>& values, std::vector<std::string> choices,
               const std::string& help);

  void Switch(const std::string& names, bool& value, const std::string& help);
  void Switch(const std::string& names, std::optional<bool>& value, const std::string& help);  // "--x,!--no-x"

  void OnParsed(std::function<void()> call);  // when this verb was asked for, after all flags are read

 private:
  CLI::App* app_;
};

}  // namespace minke
