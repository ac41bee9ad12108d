#include "minke/cli/flag_set.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>

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

void FlagSet::Switch(const std::string& names, bool& value, const std::string& help) {
  app_->add_flag(names, value, help);
}
void FlagSet::Switch(const std::string& names, std::optional<bool>& value, const std::string& help) {
  app_->add_flag(names, value, help);
}

void FlagSet::OnParsed(std::function<void()> call) { app_->callback(std::move(call)); }

}  // namespace minke
