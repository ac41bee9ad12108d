#include "minke/train/run_record.h"

#include <algorithm>
#include <optional>

#include "minke/base/file.h"
#include "minke/text/tokenizer.h"
#include "minke/train/fnv.h"

namespace minke {
namespace {

// A file that goes with the weights, where there is one.
Result<std::optional<std::string>> TextOf(const ModelFiles& files, const std::string& name) {
  const auto given = std::ranges::find(files.texts, name, &std::pair<std::string, std::string>::first);
  if (given != files.texts.end()) return given->second;
  if (files.folder.empty()) return std::nullopt;
  auto text = ReadFile(files.folder + "/" + name, Tokenizer::kMaxFileBytes);
  if (!text && text.error().code == Code::kNotFound) return std::nullopt;
  if (!text) return Fail(text.error());
  return *std::move(text);
}

bool IsEntry(const Json& entry) {
  const auto text = [&](const char* key) { return entry.contains(key) && entry[key].is_string(); };
  return entry.is_object() && text("tokenizer") && text("kernels");
}

}  // namespace

Result<RunRecord> RunRecord::Of(const ModelFiles& files, const KernelSet& kernels, int threads) {
  uint64_t hash = kFnvStart;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}) {
    MINKE_ASSIGN(const std::optional<std::string> text, TextOf(files, name));
    if (text) hash = Fnv1a(*text, Fnv1a(fmt::format("{} {}\n", name, text->size()), hash));
  }
  return RunRecord{.tokenizer = fmt::format("{:016x}", hash), .kernels = kernels.name, .threads = threads};
}

Result<ResumedRuns> ResumeRuns(Json runs, const RunRecord& now, int64_t step, const std::string& folder) {
  ResumedRuns result;
  if (runs.is_null()) runs = Json::array();
  if (!runs.is_array() || !std::ranges::all_of(runs, IsEntry))
    return Fail(Code::kDamaged, "{}/training.json: \"runs\" is no list of what a run ran with", folder);
  const Json entry = {
      {"tokenizer", now.tokenizer}, {"kernels", now.kernels}, {"dtype", now.dtype}, {"threads", now.threads}};
  if (!runs.empty()) {
    const Json& last = runs.back();
    if (last["tokenizer"] != now.tokenizer)
      return Fail(Code::kCannotResume,
                  "{}: was made with another tokenizer (tokenizer.json, tokenizer_config.json or chat_template.jinja "
                  "differs); put back that one, of which the folder has a copy, or choose another out",
                  folder);
    if (last["kernels"] != now.kernels)
      result.warning = fmt::format(
          "{}: the run used the kernel set {} and goes on with {}: its bytes may differ from those of a run that used "
          "one (MINKE_ISA={} keeps it, where the CPU has it)",
          folder, last["kernels"].get<std::string>(), now.kernels, last["kernels"].get<std::string>());
  }
  Json same = runs.empty() ? Json() : runs.back();
  if (!same.is_null()) same.erase("from_step");
  if (same != entry) {
    runs.push_back(entry);
    runs.back()["from_step"] = step;
  }
  result.runs = std::move(runs);
  return result;
}

}  // namespace minke
