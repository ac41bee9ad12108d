// minke tokenize: text <-> token ids, one JSON object a line.
#include <filesystem>
#include <iostream>
#include <memory>

#include "minke/base/json.h"
#include "minke/cli/command.h"
#include "minke/cli/json_lines.h"
#include "minke/cli/model_path.h"
#include "minke/cli/model_text.h"
#include "minke/text/prompt_json.h"

namespace minke {
namespace {

struct TokenizeFlags {
  std::string model;
  bool decode = false;
  bool no_markers = false;
};

// {"text": …} -> {"ids": […]}
Result<std::string> EncodeLine(const Tokenizer& tokenizer, bool markers, std::string_view line) {
  MINKE_ASSIGN(const Json request, ParseJson(line, "the line"));
  const auto text = request.is_object() ? request.find("text") : request.end();
  if (!request.is_object() || text == request.end() || !text->is_string())
    return Fail(Code::kInvalidArgument, "the line needs a string \"text\"");
  std::string out = "{\"ids\": [";
  bool first = true;
  for (TokenId id : tokenizer.Encode(text->get_ref<const std::string&>(), markers)) {
    if (!first) out += ", ";
    first = false;
    const fmt::format_int digits(id);
    out.append(digits.data(), digits.size());
  }
  return out += "]}";
}

// {"ids": […]} -> {"text": …, "bytes_hex": …}
Result<std::string> DecodeLine(const Tokenizer& tokenizer, std::string_view line) {
  MINKE_ASSIGN(const Json request, ParseJson(line, "the line"));
  const auto list = request.is_object() ? request.find("ids") : request.end();
  if (!request.is_object() || list == request.end() || !list->is_array())
    return Fail(Code::kInvalidArgument, "the line needs a list \"ids\"");
  std::vector<TokenId> ids;
  std::string hex;
  for (size_t i = 0; i < list->size(); ++i) {
    const Json& value = (*list)[i];
    const int64_t id = value.is_number_integer() ? value.get<int64_t>() : -1;
    if (id < 0 || id > INT32_MAX || !tokenizer.HasToken(static_cast<TokenId>(id)))
      return Fail(Code::kInvalidArgument, "ids[{}] is {}, which names no token (the ids go up to {})", i,
                  DumpJson(value).substr(0, 40), tokenizer.vocab_size() - 1);
    ids.push_back(static_cast<TokenId>(id));
    for (unsigned char byte : tokenizer.TokenBytes(ids.back())) {
      hex += "0123456789abcdef"[byte >> 4];
      hex += "0123456789abcdef"[byte & 15];
    }
  }
  std::string out = "{\"text\": ";
  AppendJsonString(out, tokenizer.Decode(ids));
  return out += ", \"bytes_hex\": \"" + hex + "\"}";
}

Status Tokenize(const TokenizeFlags& flags, CliContext& context) {
  // A tokenizer.json may be named itself, without a model around it.
  ModelPath model = {flags.model, flags.model, ""};
  std::error_code ignored;
  if (!flags.model.ends_with(".json") || !std::filesystem::is_regular_file(flags.model, ignored)) {
    MINKE_ASSIGN(model, FindModel(flags.model));
  }
  MINKE_ASSIGN(const auto tokenizer, OpenTokenizer(model));
  const auto answer = [&](std::string_view line) {
    return flags.decode ? DecodeLine(*tokenizer, line) : EncodeLine(*tokenizer, !flags.no_markers, line);
  };
  return ForEachJsonLine(std::cin, answer, [&](std::string_view line) { return context.out.WriteLine(line); });
}

}  // namespace

void AddTokenizeCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<TokenizeFlags>();
  FlagSet verb =
      AddVerb(program, context, "tokenize", "Read JSON lines {\"text\": …} on standard input, write {\"ids\": […]}",
              [flags, &context] { return Tokenize(*flags, context); });
  verb.Required("MODEL", flags->model, std::string(kModelHelp) + "; a folder with only tokenizer.json will do");
  verb.Switch("--decode", flags->decode, "Read {\"ids\": […]}, write {\"text\": …, \"bytes_hex\": …}");
  verb.Switch("--no-markers", flags->no_markers, "Take markers such as <｜User｜> in the text as ordinary text");
}

}  // namespace minke
