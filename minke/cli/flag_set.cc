#include "minke/cli/flag_set.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>

#include "minke/cli/list_flags.h"

namespace minke {
namespace {

// CLI11 reads "-1" as the largest unsigned number there is, and stops at it without a word.
template <class T>
CLI::Validator WholeNumber(T least, T most) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        T value = 0;
        const char* end = text.data() + text.size();
        const auto read = std::from_chars(text.data(), end, value);
        if (read.ec == std::errc() && read.ptr == end && value >= least && value <= most) return "";
        return fmt::format("{} is not a whole number from {} to {}", text, least, most);
      },
      "");
}

// A flag whose value is a list: every text is split at its commas, and all words are kept.
template <class T>
void List(CLI::App& app, const std::string& names, std::vector<T>& values, const std::string& help,
          std::function<Result<T>(const std::string&)> parse) {
  const auto read = [parse = std::move(parse)](const std::vector<std::string>& texts) -> Result<std::vector<T>> {
    std::vector<T> all;
    for (const std::string& text : texts)
      for (const std::string& word : SplitList(text)) {
        MINKE_ASSIGN(T value, parse(word));
        all.push_back(std::move(value));
      }
    return all;
  };
  app.add_option_function<std::vector<std::string>>(
         names, [&values, read](const std::vector<std::string>& texts) { values = read(texts).value(); }, help)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(CLI::Validator(
          [read](std::string& text) -> std::string {
            const auto list = read({text});
            return list ? "" : list.error().message;
          },
          ""));
}

}  // namespace

// --quiet, --threads and the like may stand before or after the verb.
FlagSet FlagSet::Verb(const std::string& name, const std::string& description) {
  return FlagSet(*app_->add_subcommand(name, description)->fallthrough());
}
FlagSet FlagSet::Verbs(const std::string& name, const std::string& description) {
  return FlagSet(*app_->add_subcommand(name, description)->fallthrough()->require_subcommand(1));
}

void FlagSet::Text(const std::string& names, std::string& value, const std::string& help) {
  app_->add_option(names, value, help);
}
void FlagSet::Required(const std::string& name, std::string& value, const std::string& help) {
  app_->add_option(name, value, help)->required();
}
void FlagSet::Choice(const std::string& names, std::string& value, std::vector<std::string> choices,
                     const std::string& help) {
  app_->add_option(names, value, help)->check(CLI::IsMember(std::move(choices)));
}
void FlagSet::Words(const std::string& name, std::vector<std::string>& values, const std::string& help) {
  app_->add_option(name, values, help);
}
void FlagSet::Repeated(const std::string& names, std::vector<std::string>& values, const std::string& help) {
  app_->add_option(names, values, help)->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void FlagSet::Number(const std::string& names, int& value, int least, int most, const std::string& help) {
  app_->add_option(names, value, help)->check(WholeNumber(least, most));
}
void FlagSet::Number(const std::string& names, int64_t& value, int64_t least, int64_t most, const std::string& help) {
  app_->add_option(names, value, help)->check(WholeNumber(least, most));
}
void FlagSet::Number(const std::string& names, float& value, float least, float most, const std::string& help) {
  app_->add_option(names, value, help)->check(CLI::Range(least, most));
}
void FlagSet::Number(const std::string& names, double& value, double least, double most, const std::string& help) {
  app_->add_option(names, value, help)->check(CLI::Range(least, most));
}
void FlagSet::Number(const std::string& names, std::optional<int64_t>& value, int64_t least, int64_t most,
                     const std::string& help) {
  app_->add_option(names, value, help)->check(WholeNumber(least, most));
}
void FlagSet::Number(const std::string& names, std::optional<uint64_t>& value, uint64_t least, uint64_t most,
                     const std::string& help) {
  app_->add_option(names, value, help)->check(WholeNumber(least, most));
}
void FlagSet::Number(const std::string& names, std::optional<float>& value, float least, float most,
                     const std::string& help) {
  app_->add_option(names, value, help)->check(CLI::Range(least, most));
}

void FlagSet::Port(const std::string& names, std::optional<int>& value, const std::string& help) {
  app_->add_option_function<std::string>(
          names, [&value](const std::string& text) { value = text.empty() ? 0 : std::stoi(text); }, help)
      ->expected(0, 1)
      ->type_name("[PORT]")
      ->check(CLI::Validator([](std::string& text) { return text.empty() ? "" : WholeNumber(0, 65535)(text); }, ""));
}

void FlagSet::Bytes(const std::string& names, int64_t& value, const std::string& help) {
  app_->add_option_function<std::string>(
          names, [&value](const std::string& text) { value = ParseBytes(text).value(); }, help)
      ->check(CLI::Validator(
          [](std::string& text) -> std::string {
            const auto bytes = ParseBytes(text);
            return bytes ? "" : bytes.error().message;
          },
          ""));
}

void FlagSet::Numbers(const std::string& names, std::vector<int64_t>& values, int64_t least, int64_t most,
                      const std::string& help) {
  List<int64_t>(*app_, names, values, help, [=](const std::string& word) { return ParseCount(word, least, most); });
}
void FlagSet::Choices(const std::string& names, std::vector<std::string>& values, std::vector<std::string> choices,
                      const std::string& help) {
  List<std::string>(*app_, names, values, help,
                    [choices = std::move(choices)](const std::string& word) { return ParseChoice(word, choices); });
}

void FlagSet::Switch(const std::string& names, bool& value, const std::string& help) {
  app_->add_flag(names, value, help);
}
void FlagSet::Switch(const std::string& names, std::optional<bool>& value, const std::string& help) {
  app_->add_flag(names, value, help);
}

void FlagSet::OnParsed(std::function<void()> call) { app_->callback(std::move(call)); }

}  // namespace minke
