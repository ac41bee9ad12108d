#include "minke/cli/model_path.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "minke/base/file.h"
#include "minke/tensor/gguf.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

std::string Env(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool IsFolder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool IsFile(const std::string& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::string LastName(const std::string& folder) {
  std::error_code ignored;
  fs::path full = fs::absolute(folder, ignored).lexically_normal();
  if (!full.has_filename()) full = full.parent_path();
  return full.filename().string();
}

// The hub's own rule for a part of a name: letters, digits, '-', '_', '.', not "." or "..".
bool IsHubPart(std::string_view part) {
  return !part.empty() && part.size() <= 96 && part.find_first_not_of('.') != part.npos &&
         std::ranges::all_of(part, [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; });
}

struct HubName {
  std::string org, name, revision;
};

// org/name[@rev]; a revision may be a branch with slashes.
bool ParseHubName(std::string_view text, HubName& hub) {
  const size_t at = text.find('@');
  const std::string_view repo = text.substr(0, at);
  const size_t slash = repo.find('/');
  if (slash == repo.npos || repo.find('/', slash + 1) != repo.npos) return false;
  hub.org = repo.substr(0, slash), hub.name = repo.substr(slash + 1);
  hub.revision = at == text.npos ? "main" : std::string(text.substr(at + 1));
  return IsHubPart(hub.org) && IsHubPart(hub.name) && !hub.revision.empty() &&
         hub.revision.find("..") == std::string::npos && hub.revision.front() != '/';
}

// models--org--name/refs/REV names a commit; snapshots/COMMIT holds the files.
std::string FindSnapshot(const std::string& cache, const HubName& hub) {
  const std::string repo = cache + "/models--" + hub.org + "--" + hub.name;
  std::string commit = hub.revision;
  if (auto ref = ReadFile(repo + "/refs/" + hub.revision, 4096)) {
    commit = *ref;
    while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back()))) commit.pop_back();
    if (!IsHubPart(commit)) return "";
  }
  if (commit.find('/') != std::string::npos) return "";
  const std::string snapshot = repo + "/snapshots/" + commit;
  return IsFolder(snapshot) ? snapshot : "";
}

}  // namespace

ModelSearch DefaultModelSearch() {
  ModelSearch search;
  if (const std::string cache = Env("HF_HUB_CACHE"); !cache.empty()) {
    search.hub_cache = cache;
  } else if (const std::string home = Env("HF_HOME"); !home.empty()) {
    search.hub_cache = home + "/hub";
  } else if (const std::string xdg = Env("XDG_CACHE_HOME"); !xdg.empty()) {
    search.hub_cache = xdg + "/huggingface/hub";
  } else {
    search.hub_cache = Env("HOME") + "/.cache/huggingface/hub";
  }
  std::error_code error;
  if (const fs::path program = fs::read_symlink("/proc/self/exe", error); !error) {
    search.built_in.push_back((program.parent_path().parent_path() / "share/minke/models").string());  // installed
    search.built_in.push_back((program.parent_path() / "../../models").lexically_normal().string());   // build/PRESET
  }
#ifdef MINKE_BUILTIN_MODELS
  search.built_in.push_back(MINKE_BUILTIN_MODELS);  // the source this program was built from
#endif
  return search;
}

Result<ModelPath> FindModel(std::string_view model, const ModelSearch& search) {
  const std::string text(model);
  if (text.empty() || text.find('\0') != std::string::npos) {
    return Fail(Code::kInvalidArgument, "model name is empty: give {}", "a folder, a hub name or \"nano\"");
  }
  if (IsFolder(text)) return ModelPath{text, text, LastName(text)};
  if (IsFile(text)) {
    if (IsGgufPath(text)) return ModelPath{text, "", fs::path(text).stem().string()};
    if (!text.ends_with(".safetensors") && !text.ends_with(".safetensors.index.json")) {
      return Fail(Code::kInvalidArgument,
                  "{}: not a .safetensors file, its index or a .gguf file: give its folder instead", text);
    }
    std::string folder = fs::path(text).parent_path().string();
    if (folder.empty()) folder = ".";
    return ModelPath{text, folder, LastName(folder)};
  }
  if (text.find('/') == std::string::npos)
    for (const std::string& folder : search.built_in)
      if (const std::string path = folder + "/" + text; IsFile(path + "/config.json"))
        return ModelPath{path, path, text};
  if (text == "nano")
    return Fail(Code::kNotFound, "built-in model nano not found: looked in {}: reinstall minke or give a folder",
                fmt::join(search.built_in, ", "));
  HubName hub;
  if (ParseHubName(text, hub)) {
    if (const std::string path = FindSnapshot(search.hub_cache, hub); !path.empty()) {
      return ModelPath{path, path, hub.org + "/" + hub.name};
    }
    const std::string revision = hub.revision == "main" ? "" : " --revision " + hub.revision;
    return Fail(Code::kNotFound,
                "model {} is not on this machine: no such folder, and {} has no snapshot {} of it: "
                "get it with \"hf download {}/{}{}\" (Python package huggingface_hub) or give a folder",
                text, search.hub_cache, hub.revision, hub.org, hub.name, revision);
  }
  return Fail(Code::kNotFound,
              "model {} not found: no such folder or file: give a folder, org/name, or a built-in one: nano, nano-sft, "
              "nano-standard",
              text);
}

}  // namespace minke
