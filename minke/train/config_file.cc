#include "minke/train/config_file.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "minke/base/file.h"
#include "minke/base/nearest_name.h"

// Errors as values; a configuration nests little, and what nests without end must not use up the stack.
#define TOML_EXCEPTIONS 0
#define TOML_MAX_NESTED_VALUES 16
#include <toml++/toml.h>

namespace minke {

// The file as a tree of our own: toml++ stays in this unit.
struct ConfigNode {
  enum class Kind { kFlag, kWhole, kReal, kText, kList, kSection, kDate };
  Kind kind = Kind::kSection;
  int64_t line = 0;
  bool flag = false;
  int64_t whole = 0;
  double real = 0;  // of kWhole too
  std::string text;
  std::string key;                // of a section's member
  std::vector<ConfigNode> items;  // of a list or a section
  bool used = false;
  std::vector<std::string> asked;  // of a section: the keys that are known
  std::vector<std::string> wrong;  // of a section: the keys that are missing or have no value that could be taken

  ConfigNode* Member(std::string_view name) {
    for (ConfigNode& item : items)
      if (item.key == name) return &item;
    return nullptr;
  }
};

struct ConfigReading {
  struct Problem {
    int64_t line = 0;  // 0: of no line
    std::string message;
  };
  std::string where;
  ConfigNode root;
  std::vector<Problem> problems;

  void Add(int64_t line, std::string message) { problems.push_back({line, std::move(message)}); }
};

namespace {

using Kind = ConfigNode::Kind;

constexpr int kMaxDots = 100;       // names in a row, a.b.c: toml++ makes a table of each and recurses over them
constexpr size_t kMaxListed = 8;    // problems on the one line
constexpr size_t kMaxExcerpt = 60;  // bytes of a text in a message

// 0, or the line on which more than kMaxDots dots follow each other without any of what ends a key.
int64_t TooManyDots(std::string_view text) {
  int64_t line = 1;
  int dots = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i], next = i + 1 < text.size() ? text[i + 1] : '\n';
    if (c == '\n') ++line;
    if (c == '\n' || c == '=' || c == ',' || c == '{' || c == '[') dots = 0;
    if (c == '.' && next != '.' && next != '/' && ++dots > kMaxDots) return line;  // "../" is a path
  }
  return 0;
}

ConfigNode Convert(const toml::node& node) {
  ConfigNode out;
  out.line = node.source().begin.line;
  if (const auto* table = node.as_table()) {
    for (const auto& [key, value] : *table) {
      out.items.push_back(Convert(value));
      out.items.back().key = std::string(key.str());
      if (const auto line = key.source().begin.line; line > 0 && !value.is_array_of_tables())
        out.items.back().line = line;
    }
    std::ranges::sort(out.items, {}, [](const ConfigNode& item) { return std::tie(item.line, item.key); });
  } else if (const auto* list = node.as_array()) {
    out.kind = Kind::kList;
    for (const auto& value : *list) out.items.push_back(Convert(value));
  } else if (const auto* text = node.as_string()) {
    out.kind = Kind::kText, out.text = text->get();
  } else if (const auto* whole = node.as_integer()) {
    out.kind = Kind::kWhole, out.whole = whole->get(), out.real = static_cast<double>(out.whole);
  } else if (const auto* real = node.as_floating_point()) {
    out.kind = Kind::kReal, out.real = real->get();
    constexpr double kExact = 9007199254740992;  // 2^53
    if (std::abs(out.real) <= kExact && std::trunc(out.real) == out.real)
      out.whole = static_cast<int64_t>(out.real), out.flag = true;  // 1e6 may stand for a whole number
  } else if (const auto* flag = node.as_boolean()) {
    out.kind = Kind::kFlag, out.flag = flag->get();
  } else {
    out.kind = Kind::kDate;
  }
  return out;
}

std::string Describe(const ConfigNode& node) {
  switch (node.kind) {
    case Kind::kFlag:
      return node.flag ? "true" : "false";
    case Kind::kWhole:
      return fmt::format("{}", node.whole);
    case Kind::kReal:
      return fmt::format("{}", node.real);
    case Kind::kText:
      return fmt::format("\"{}\"{}", node.text.substr(0, kMaxExcerpt), node.text.size() > kMaxExcerpt ? "…" : "");
    case Kind::kList:
      return "a list";
    case Kind::kSection:
      return "a section";
    case Kind::kDate:
      break;
  }
  return "a date or time";
}

bool IsWhole(const ConfigNode& node) { return node.kind == Kind::kWhole || (node.kind == Kind::kReal && node.flag); }
bool IsNumber(const ConfigNode& node) {
  return node.kind == Kind::kWhole || (node.kind == Kind::kReal && std::isfinite(node.real));
}

bool Take(const ConfigNode& node, int64_t& value, int64_t least, int64_t most) {
  if (!IsWhole(node) || node.whole < least || node.whole > most) return false;
  value = node.whole;
  return true;
}
bool Take(const ConfigNode& node, double& value, double least, double most) {
  if (!IsNumber(node) || node.real < least || node.real > most) return false;
  value = node.real;
  return true;
}

template <class T>
std::string Bounds(T least, T most) {
  constexpr bool kIsWhole = std::is_integral_v<T>;
  const std::string noun = kIsWhole ? "a whole number" : "a number";
  const bool has_most = kIsWhole ? most != std::numeric_limits<T>::max() : std::isfinite(static_cast<double>(most));
  if (has_most) return fmt::format("{} from {} to {}", noun, least, most);
  const bool has_least = kIsWhole ? least != std::numeric_limits<T>::min() : std::isfinite(static_cast<double>(least));
  return has_least ? fmt::format("{} of at least {}", noun, least) : noun;
}

void FindUnknown(ConfigNode& section, const std::string& path, ConfigReading& reading) {
  for (ConfigNode& item : section.items) {
    const std::string name = path.empty() ? item.key : path + "." + item.key;
    const bool is_section = item.kind == Kind::kSection ||
                            (item.kind == Kind::kList && !item.items.empty() && item.items[0].kind == Kind::kSection);
    if (!item.used) {
      const std::string near = NearestName(item.key, section.asked);
      reading.Add(item.line,
                  fmt::format("unknown {} {}{}", is_section ? "section" : "key", is_section ? "[" + name + "]" : name,
                              near.empty() ? "" : ": did you mean " + near + "?"));
    } else if (item.kind == Kind::kSection) {
      FindUnknown(item, name, reading);
    } else if (item.kind == Kind::kList) {
      for (ConfigNode& each : item.items)
        if (each.kind == Kind::kSection) FindUnknown(each, name, reading);
    }
  }
}

}  // namespace

std::string ConfigSection::Path(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

bool ConfigSection::Has(std::string_view key) const { return node_ && node_->Member(key); }

// The value of `key`, which is known from now on.
ConfigNode* ConfigSection::Find(std::string_view key) {
  if (!node_) return nullptr;
  if (std::ranges::find(node_->asked, key) == node_->asked.end()) node_->asked.emplace_back(key);
  ConfigNode* found = node_->Member(key);
  if (found) found->used = true;
  return found;
}

void ConfigSection::Wrong(const ConfigNode& node, std::string_view key, std::string_view expected) {
  if (node_) node_->wrong.emplace_back(key);
  reading_->Add(node.line, fmt::format("{} is {}, expected {}", Path(key), Describe(node), expected));
}

void ConfigSection::Need(std::string_view key) {
  if (Has(key)) return;
  if (node_) node_->wrong.emplace_back(key);
  reading_->Add(node_ ? node_->line : 0, fmt::format("{} is missing", Path(key)));
}

void ConfigSection::Refuse(std::initializer_list<std::string_view> keys, std::string_view why) {
  const std::string_view key = *keys.begin();
  if (node_ && std::ranges::find_first_of(node_->wrong, keys) != node_->wrong.end()) return;
  const ConfigNode* found = node_ ? node_->Member(key) : nullptr;
  reading_->Add(found ? found->line : 0, fmt::format("{}: {}", Path(key), why));
}

void ConfigSection::Number(std::string_view key, int64_t& value, int64_t least, int64_t most) {
  if (const ConfigNode* node = Find(key); node && !Take(*node, value, least, most))
    Wrong(*node, key, Bounds(least, most));
}
void ConfigSection::Number(std::string_view key, int& value, int least, int most) {
  int64_t wide = value;
  Number(key, wide, least, most);
  value = static_cast<int>(wide);
}
void ConfigSection::Number(std::string_view key, double& value, double least, double most) {
  if (const ConfigNode* node = Find(key); node && !Take(*node, value, least, most))
    Wrong(*node, key, Bounds(least, most));
}

void ConfigSection::Number(std::string_view key, float& value, double least, double most) {
  double wide = static_cast<double>(value);
  Number(key, wide, least, most);
  value = static_cast<float>(wide);
}

void ConfigSection::Text(std::string_view key, std::string& value) {
  const ConfigNode* node = Find(key);
  if (!node) return;
  if (node->kind != Kind::kText) return Wrong(*node, key, "a text in quotes");
  value = node->text;
}

void ConfigSection::Choice(std::string_view key, std::string& value, const std::vector<std::string>& choices) {
  const ConfigNode* node = Find(key);
  if (!node) return;
  if (node->kind == Kind::kText && std::ranges::find(choices, node->text) != choices.end()) {
    value = node->text;
    return;
  }
  std::string all;
  for (const std::string& choice : choices) all += (all.empty() ? "\"" : ", \"") + choice + "\"";
  Wrong(*node, key, choices.size() == 1 ? all : "one of " + all);
}

void ConfigSection::Flag(std::string_view key, bool& value) {
  const ConfigNode* node = Find(key);
  if (!node) return;
  if (node->kind != Kind::kFlag) return Wrong(*node, key, "true or false");
  value = node->flag;
}

void ConfigSection::Texts(std::string_view key, std::vector<std::string>& values) {
  const ConfigNode* node = Find(key);
  if (!node) return;
  std::vector<std::string> read;
  if (node->kind == Kind::kText) read.push_back(node->text);
  if (node->kind != Kind::kText && node->kind != Kind::kList) return Wrong(*node, key, "a list of texts in quotes");
  for (const ConfigNode& item : node->items) {
    if (item.kind != Kind::kText)
      return Wrong(item, fmt::format("{}[{}]", key, &item - node->items.data()), "a text in quotes");
    read.push_back(item.text);
  }
  values = std::move(read);
}

namespace {
template <class T, class Report>
void ReadNumbers(const ConfigNode& node, std::vector<T>& values, T least, T most, const Report& wrong) {
  if (node.kind != Kind::kList) return wrong(node, -1, "a list of numbers");
  std::vector<T> read(node.items.size());
  for (size_t i = 0; i < read.size(); ++i)
    if (!Take(node.items[i], read[i], least, most))
      return wrong(node.items[i], static_cast<int>(i), Bounds(least, most));
  values = std::move(read);
}
}  // namespace

void ConfigSection::Numbers(std::string_view key, std::vector<int64_t>& values, int64_t least, int64_t most) {
  const ConfigNode* node = Find(key);
  const auto wrong = [&](const ConfigNode& at, int i, const std::string& expected) {
    Wrong(at, i < 0 ? std::string(key) : fmt::format("{}[{}]", key, i), expected);
  };
  if (node) ReadNumbers(*node, values, least, most, wrong);
}
void ConfigSection::Numbers(std::string_view key, std::vector<double>& values, double least, double most) {
  const ConfigNode* node = Find(key);
  const auto wrong = [&](const ConfigNode& at, int i, const std::string& expected) {
    Wrong(at, i < 0 ? std::string(key) : fmt::format("{}[{}]", key, i), expected);
  };
  if (node) ReadNumbers(*node, values, least, most, wrong);
}

ConfigSection ConfigSection::Section(std::string_view key) {
  ConfigNode* node = Find(key);
  if (node && node->kind != Kind::kSection) {
    Wrong(*node, key, fmt::format("a section [{}]", Path(key)));
    node = nullptr;
  }
  return ConfigSection(reading_, node, Path(key));
}

std::vector<ConfigSection> ConfigSection::Sections(std::string_view key) {
  ConfigNode* node = Find(key);
  std::vector<ConfigSection> sections;
  if (!node) return sections;
  const bool all = node->kind == Kind::kList &&
                   std::ranges::all_of(node->items, [](const ConfigNode& item) { return item.kind == Kind::kSection; });
  if (!all) {
    Wrong(*node, key, fmt::format("sections [[{}]]", Path(key)));
    return sections;
  }
  for (ConfigNode& item : node->items) sections.push_back(ConfigSection(reading_, &item, Path(key)));
  return sections;
}

ConfigFile::ConfigFile() : reading_(std::make_unique<ConfigReading>()) {}
ConfigFile::ConfigFile(ConfigFile&&) noexcept = default;
ConfigFile& ConfigFile::operator=(ConfigFile&&) noexcept = default;
ConfigFile::~ConfigFile() = default;

Result<ConfigFile> ConfigFile::Open(const std::string& path) {
  MINKE_ASSIGN(const std::string text, ReadFile(path, kMaxBytes));
  return Parse(text, path);
}

Result<ConfigFile> ConfigFile::Parse(std::string_view text, std::string_view where) {
  if (const int64_t line = TooManyDots(text); line > 0)
    return Fail(Code::kInvalidArgument, "{}:{}: more than {} dots in a row, sections do not nest so deep", where, line,
                kMaxDots);
  const toml::parse_result parsed = toml::parse(text, where);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return Fail(Code::kInvalidArgument, "{}:{}: not valid TOML: {}", where, error.source().begin.line,
                error.description());
  }
  ConfigFile file;
  file.reading_->where = where;
  file.reading_->root = Convert(parsed.table());
  file.reading_->root.line = 0;
  return file;
}

ConfigSection ConfigFile::root() { return ConfigSection(reading_.get(), &reading_->root, ""); }

Status ConfigFile::Finish() {
  FindUnknown(reading_->root, "", *reading_);
  auto& problems = reading_->problems;
  if (problems.empty()) return {};
  std::ranges::sort(problems, {}, [](const auto& problem) { return std::tie(problem.line, problem.message); });
  std::string all;
  for (size_t i = 0; i < std::min(problems.size(), kMaxListed); ++i) {
    if (i > 0) all += "; ";
    all += reading_->where;
    if (problems[i].line > 0) all += fmt::format(":{}", problems[i].line);
    all += ": " + problems[i].message;
  }
  if (problems.size() > kMaxListed) all += fmt::format("; and {} more", problems.size() - kMaxListed);
  return Fail(Code::kInvalidArgument, "{}", all);
}

}  // namespace minke
