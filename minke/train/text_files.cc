#include "minke/train/text_files.h"

#include <algorithm>

#include "minke/base/file.h"
#include "minke/text/prompt_json.h"

namespace minke {
namespace {

tl::unexpected<Error> Wrong(std::string_view what) { return Fail(Code::kInvalidArgument, "{}", what); }

// "loss": of one message. Only what an assistant said can be learned.
Result<bool> HasLoss(const PromptJson& message, const std::string& role, size_t i) {
  const PromptJson* loss = message.Find("loss");
  const bool assistant = role == "assistant";
  if (!loss || loss->is_null()) return assistant;
  if (!loss->is_bool()) return Wrong(fmt::format("messages[{}].loss is not true or false", i));
  if (loss->boolean() && !assistant)
    return Wrong(fmt::format("messages[{}].loss is true on a {} message: only an assistant's can be", i, role));
  return loss->boolean();
}

Result<std::vector<DataPart>> PartsOf(const PromptJson& json) {
  if (!json.is_array() || json.items().empty()) return Wrong("\"parts\" is no list with something in it");
  std::vector<DataPart> parts;
  for (size_t i = 0; i < json.items().size(); ++i) {
    const PromptJson& item = json.items()[i];
    const PromptJson *text = item.is_object() ? item.Find("text") : nullptr, *loss = text ? item.Find("loss") : nullptr;
    if (!text || !text->is_string() || (loss && !loss->is_bool()))
      return Wrong(fmt::format("parts[{}] is no object with a \"text\" and perhaps a \"loss\" of true or false", i));
    parts.push_back({text->text(), !loss || loss->boolean()});
  }
  return parts;
}

}  // namespace

Result<DataLine> DataLine::Parse(std::string_view line) {
  MINKE_ASSIGN(const PromptJson object, PromptJson::Parse(line, "the line"));
  const PromptJson* text = object.Find("text");
  const PromptJson* messages = object.Find("messages");
  if ((text == nullptr) == (messages == nullptr)) return Wrong("expected an object with \"text\" or with \"messages\"");
  DataLine out;
  if (text) {
    if (!text->is_string()) return Wrong("\"text\" is no string");
    out.is_text = true;
    out.text = text->text();
    return out;
  }
  MINKE_ASSIGN(out.messages, MessagesFromJson(*messages));
  for (size_t i = 0; i < out.messages.size(); ++i) {
    MINKE_ASSIGN(const bool loss, HasLoss(messages->items()[i], out.messages[i].role, i));
    out.loss.push_back(loss);
  }
  if (const PromptJson* parts = object.Find("parts"); parts && !parts->is_null()) {
    MINKE_ASSIGN(out.parts, PartsOf(*parts));
    out.loss.assign(out.loss.size(), false);  // what is learned is in the parts
  }
  if (const PromptJson* tools = object.Find("tools"); tools && !tools->is_null()) {
    MINKE_ASSIGN(std::vector<PromptJson> list, ToolsFromJson(*tools, "tools"));
    const size_t before = out.messages.size();
    AttachTools(out.messages, std::move(list));
    if (out.messages.size() > before) out.loss.insert(out.loss.begin(), false);
  }
  return out;
}

Status ForEachText(const std::string& path, const std::function<void(std::string_view)>& add) {
  MINKE_ASSIGN(const MappedFile file, MappedFile::Open(path));
  const std::string_view all(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  if (!path.ends_with(".jsonl")) {
    add(all);
    return file.Health();
  }
  int64_t number = 0;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = std::min(all.find('\n', begin), all.size());
    const std::string_view line = all.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const auto data = DataLine::Parse(line);
    if (!data) return Fail(Code::kInvalidArgument, "{}:{}: {}", path, number, data.error().message);
    if (data->is_text) add(data->text);
    for (const Message& message : data->messages) {
      add(message.reasoning_content);
      add(message.content);
    }
    for (const DataPart& part : data->parts) add(part.text);
  }
  return file.Health();
}

}  // namespace minke
