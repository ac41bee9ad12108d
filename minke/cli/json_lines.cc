#include "minke/cli/json_lines.h"

#include "minke/text/prompt_json.h"
#include "minke/text/utf8_stream.h"

namespace minke {
namespace {

// Like std::getline, but keeps at most max_bytes; false at the end of the input.
bool ReadLine(std::istream& in, size_t max_bytes, std::string& line, bool& too_long) {
  line.clear();
  too_long = false;
  std::streambuf* buffer = in.rdbuf();
  bool any = false;
  for (int c = buffer->sbumpc(); c != std::char_traits<char>::eof(); c = buffer->sbumpc()) {
    any = true;
    if (c == '\n') return true;
    if (line.size() < max_bytes) {
      line.push_back(static_cast<char>(c));
    } else {
      too_long = true;
    }
  }
  return any;
}

std::string ErrorLine(std::string_view message) {
  std::string out = "{\"error\": ";
  AppendJsonString(out, LossyUtf8(message));
  return out += "}";
}

}  // namespace

Status ForEachJsonLine(std::istream& in, const std::function<Result<std::string>(std::string_view line)>& answer,
                       const std::function<Status(std::string_view)>& write, size_t max_bytes) {
  std::string line;
  bool too_long = false;
  while (ReadLine(in, max_bytes, line, too_long)) {
    if (too_long) {
      MINKE_TRY(write(ErrorLine(fmt::format("the line is longer than {} bytes", max_bytes))));
      continue;
    }
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto result = answer(line);
    MINKE_TRY(write(result ? *result : ErrorLine(result.error().message)));
  }
  return {};
}

}  // namespace minke
