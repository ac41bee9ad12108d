#include "minke/text/chat_template.h"

#include <initializer_list>

#include "minke/base/file.h"
#include "minke/base/json.h"
#include "minke/text/markers.h"

namespace minke {
namespace {

constexpr int64_t kMaxTemplateBytes = 16 << 20;

bool HasAll(std::string_view text, std::initializer_list<std::string_view> parts) {
  for (std::string_view part : parts)
    if (text.find(part) == std::string_view::npos) return false;
  return true;
}
bool HasAny(std::string_view text, std::initializer_list<std::string_view> parts) {
  for (std::string_view part : parts)
    if (text.find(part) != std::string_view::npos) return true;
  return false;
}

TemplateChoice Own(ChatFormat format, std::string_view what) {
  return {format, false, true, fmt::format("the checkpoint's chat_template is that of {}; its rules are used", what)};
}

}  // namespace

TemplateChoice RecognizeTemplate(std::string_view text, std::string_view model_type) {
  using namespace markers;  // NOLINT: the names of the formats
  // What every template of the family writes, and nothing that ours would not: a list of tools, DSML, other roles.
  const bool family = HasAll(text, {kUser, kAssistant, kEnd, kToolCalls, kToolCall, kToolSep, kToolCallEnd, kToolOutput,
                                    "add_generation_prompt", "system_prompt"}) &&
                      !HasAny(text, {"in tools", "tools is", "tools|", "tools |", kDsml, "developer", "strftime"});
  const bool fenced = HasAll(text, {"```json", kToolOutputs});
  const bool drops_reasoning = HasAny(text, {"split('</think>')[-1]", "split(\"</think>\")[-1]"});
  if (family && fenced && drops_reasoning) {
    TemplateChoice choice = Own(ChatFormat::kR1, "DeepSeek-R1");
    choice.opens_think = HasAny(text, {"<｜Assistant｜><think>\\n", "<｜Assistant｜><think>\n"});
    return choice;
  }
  if (family && fenced && !HasAny(text, {kThink, kThinkEnd})) return Own(ChatFormat::kV3, "DeepSeek-V3");
  if (family && !fenced && HasAll(text, {"thinking", kThink, kThinkEnd})) return Own(ChatFormat::kV31, "DeepSeek-V3.1");

  TemplateChoice choice;
  const bool v32 = model_type == "deepseek_v32";
  choice.format = v32 ? ChatFormat::kV32 : ChatFormat::kV3;
  const std::string_view name = v32 ? "DeepSeek-V3.2" : "DeepSeek-V3";
  if (!text.empty()) {
    choice.note = fmt::format(
        "the checkpoint's chat_template is none of DeepSeek-V3, R1 and V3.1; the rules of {} are used instead", name);
  } else if (v32) {
    choice.is_own = true;  // the release has no template: its encoding is a program
    choice.note = "the checkpoint has no chat_template; the encoding of DeepSeek-V3.2 is used, as in its release";
  } else {
    choice.note = fmt::format("the checkpoint has no chat_template; the rules of {} are used", name);
  }
  return choice;
}

Result<std::string> TemplateOfTokenizerConfig(std::string_view tokenizer_config, std::string_view where) {
  MINKE_ASSIGN(const Json config, ParseJson(tokenizer_config, where));
  if (!config.is_object()) return Fail(Code::kDamaged, "{}: not an object", where);
  const auto field = config.find("chat_template");
  if (field == config.end() || field->is_null()) return "";
  if (field->is_string()) return field->get<std::string>();
  if (!field->is_array()) return Fail(Code::kDamaged, "{}: chat_template is neither a text nor a list", where);
  for (const Json& entry : *field) {
    if (!entry.is_object()) continue;
    const auto name = entry.find("name"), text = entry.find("template");
    if (name != entry.end() && *name == Json("default") && text != entry.end() && text->is_string())
      return text->get<std::string>();
  }
  return "";
}

Result<std::string> FolderTemplate(const std::string& folder) {
  auto text = ReadFile(folder + "/chat_template.jinja", kMaxTemplateBytes);
  if (!text && text.error().code != Code::kNotFound) return Fail(text.error());
  if (!text) {
    const std::string path = folder + "/tokenizer_config.json";
    const auto config = ReadFile(path, kMaxTemplateBytes);
    if (!config && config.error().code != Code::kNotFound) return Fail(config.error());
    text = "";
    if (config) {
      MINKE_ASSIGN(*text, TemplateOfTokenizerConfig(*config, path));
    }
  }
  return text;
}

Result<TemplateChoice> ChooseTemplate(const std::string& folder, std::string_view model_type) {
  MINKE_ASSIGN(const std::string text, FolderTemplate(folder));
  return RecognizeTemplate(text, model_type);
}

}  // namespace minke
