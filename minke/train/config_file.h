// A training configuration: TOML, read key by key into plain variables. Every key that nobody asked for is an error
// with the nearest known one, so a typo cannot fall back to a default in silence.
//
//   MINKE_ASSIGN(ConfigFile file, ConfigFile::Open("sft.toml"));
//   ConfigSection optimizer = file.Section("optimizer");
//   optimizer.Number("lr", options.lr, 0.0, 1.0);                  // absent: options.lr stays
//   optimizer.Choice("schedule", options.schedule, {"cosine", "constant"});
//   MINKE_TRY(file.Finish());                                       // the only place where errors come out
//
// Single-threaded.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"

namespace minke {

struct ConfigNode;     // private to config_file.cc
struct ConfigReading;  // likewise: the tree, and what was found wrong so far

// One [section], or the keys before the first. A view: the ConfigFile outlives it.
class ConfigSection {
 public:
  bool Has(std::string_view key) const;
  bool present() const { return node_ != nullptr; }  // the section is in the file
  void Need(std::string_view key);                   // absent: an error

  // Each leaves `value` alone where the key is absent or wrong. Whole numbers may be written 1e6; bounds are included;
  // nan and inf are no numbers.
  void Number(std::string_view key, int64_t& value, int64_t least, int64_t most);
  void Number(std::string_view key, int& value, int least, int most);
  void Number(std::string_view key, double& value, double least, double most);
  void Number(std::string_view key, float& value, double least, double most);  // bounds as written, then rounded
  void Text(std::string_view key, std::string& value);
  void Choice(std::string_view key, std::string& value, const std::vector<std::string>& choices);
  void Flag(std::string_view key, bool& value);
  void Texts(std::string_view key, std::vector<std::string>& values);  // a list, or one text
  void Numbers(std::string_view key, std::vector<int64_t>& values, int64_t least, int64_t most);
  void Numbers(std::string_view key, std::vector<double>& values, double least, double most);

  ConfigSection Section(std::string_view key);                // [this.key]; absent: one without keys
  std::vector<ConfigSection> Sections(std::string_view key);  // [[this.key]], in the file's order

  // For what only the caller can see, such as two keys that exclude each other: an error at the line of the first of
  // `keys`. Says nothing where one of them is missing or wrong already, since it may only follow from that.
  void Refuse(std::initializer_list<std::string_view> keys, std::string_view why);

 private:
  friend class ConfigFile;
  ConfigSection(ConfigReading* reading, ConfigNode* node, std::string path)
      : reading_(reading), node_(node), path_(std::move(path)) {}
  ConfigNode* Find(std::string_view key);
  void Wrong(const ConfigNode& node, std::string_view key, std::string_view expected);
  std::string Path(std::string_view key) const;

  ConfigReading* reading_;
  ConfigNode* node_;  // nullptr: the section is not in the file
  std::string path_;  // "optimizer", "" for the root
};

class ConfigFile {
 public:
  static constexpr int64_t kMaxBytes = int64_t{1} << 20;

  // Errors: kNotFound; kInvalidArgument, with the line, for what is not TOML.
  static Result<ConfigFile> Open(const std::string& path);
  static Result<ConfigFile> Parse(std::string_view text, std::string_view where);
  ConfigFile(ConfigFile&&) noexcept;
  ConfigFile& operator=(ConfigFile&&) noexcept;
  ~ConfigFile();

  ConfigSection root();
  ConfigSection Section(std::string_view key) { return root().Section(key); }

  // After everything was asked for. kInvalidArgument: all wrong values and unknown keys on one line, by line of the
  // file: "sft.toml:3: unknown key optimizer.lrr: did you mean lr?; sft.toml:9: …".
  Status Finish();

 private:
  ConfigFile();
  std::unique_ptr<ConfigReading> reading_;
};

}  // namespace minke
