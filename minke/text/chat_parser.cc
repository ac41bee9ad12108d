#include "minke/text/chat_parser.h"

#include <algorithm>
#include <initializer_list>

#include "minke/text/arguments.h"
#include "minke/text/marked_call.h"
#include "minke/text/markers.h"
#include "minke/text/stream_parser.h"

namespace minke {
namespace {

using namespace markers;  // NOLINT: the names of the format

template <class... Args>
tl::unexpected<Error> Wrong(fmt::format_string<Args...> format, Args&&... args) {
  return Fail(Code::kInvalidArgument, format, std::forward<Args>(args)...);
}

class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}
  bool done() const { return text_.empty(); }
  bool Take(std::string_view literal) {
    if (!text_.starts_with(literal)) return false;
    text_.remove_prefix(literal.size());
    return true;
  }
  // The text before the first of `stops`, which is taken too and named in `stop`; with none, all and "".
  std::string_view Until(std::initializer_list<std::string_view> stops, std::string_view& stop) {
    size_t best = std::string_view::npos;
    stop = "";
    for (std::string_view candidate : stops)
      // A later candidate matters only before the best one, so the search ends there.
      if (const size_t at =
              text_.substr(0, best == std::string_view::npos ? best : best + candidate.size()).find(candidate);
          at < best) {
        best = at;
        stop = candidate;
      }
    const std::string_view before = text_.substr(0, best);
    text_.remove_prefix(before.size() + stop.size());
    return before;
  }

 private:
  std::string_view text_;
};

Status RefuseMarkers(std::string_view text, std::string_view part, ChatFormat format) {
  for (std::string_view marker : {kBegin, kEnd, kThink, kThinkEnd})
    if (text.find(marker) != std::string_view::npos) return Wrong("the marker {} stands in the {}", marker, part);
  const bool v32 = format == ChatFormat::kV32;
  for (std::string_view marker : {kToolCalls, kToolCall, kToolSep, kToolCallEnd, kToolCallsEnd})
    if (!v32 && text.find(marker) != std::string_view::npos)
      return Wrong("the marker {} stands in the {}", marker, part);
  if (v32 && text.find(kDsml) != std::string_view::npos) return Wrong("the marker {} stands in the {}", kDsml, part);
  return {};
}

// ' name="NAME">\n', with spaces or newlines before and one more newline allowed after.
Result<std::string_view> InvokeName(std::string_view head) {
  head.remove_prefix(std::min(head.find_first_not_of(" \t\n\r\f\v"), head.size()));
  constexpr std::string_view kName = "name=\"", kClose = "\">\n";
  if (head.ends_with("\">\n\n")) head.remove_suffix(1);
  if (!head.starts_with(kName) || head.size() < kName.size() + kClose.size() || !head.ends_with(kClose))
    return Wrong("an invoke without name=\"…\"> and a newline");
  return head.substr(kName.size(), head.size() - kName.size() - kClose.size());
}

// ' name="K" string="true|false">VALUE<'
Status AddParameter(std::string_view text, Arguments& arguments) {
  constexpr std::string_view kName = " name=\"", kTrue = "\" string=\"true\">", kFalse = "\" string=\"false\">";
  if (!text.starts_with(kName) || !text.ends_with('<')) return Wrong("a parameter without name, or not closed by </");
  text.remove_prefix(kName.size());
  text.remove_suffix(1);
  Cursor cursor(text);
  std::string_view stop, nothing;
  const std::string_view name = cursor.Until({kTrue, kFalse}, stop);
  if (stop.empty()) return Wrong("a parameter without string=\"true\"> or string=\"false\">");
  const std::string_view value = cursor.Until({}, nothing);
  if (!(stop == kTrue ? arguments.AddString(name, value) : arguments.Add(name, value)))
    return Wrong("the parameter \"{}\" appears twice", name);
  return {};
}

// From behind the opener to behind the closing tag.
Status DsmlCalls(Cursor& cursor, Message& message) {
  constexpr std::string_view kParameterClose = "/｜DSML｜parameter";
  for (;;) {
    std::string_view stop;
    if (cursor.Until({kInvoke, kCallsEnd}, stop) != ">\n" || stop.empty())
      return Wrong("the block of calls needs > and a newline, then an invoke or its closing tag");
    if (stop == kCallsEnd) break;
    const std::string_view head = cursor.Until({kParameter, kInvokeEnd}, stop);
    if (stop.empty()) return Wrong("an invoke is not closed");
    MINKE_ASSIGN(const std::string_view name, InvokeName(head));
    Arguments arguments;
    while (stop == kParameter) {
      const std::string_view parameter = cursor.Until({kParameterClose}, stop);
      if (stop.empty()) return Wrong("a parameter is not closed");
      MINKE_TRY(AddParameter(parameter, arguments));
      if (cursor.Until({kParameter, kInvokeEnd}, stop) != ">\n" || stop.empty())
        return Wrong("a parameter needs > and a newline behind it, then a parameter or the end of the invoke");
    }
    message.tool_calls.push_back({"", std::string(name), arguments.Text()});
  }
  if (!cursor.Take(">")) return Wrong("the closing tag of the calls has no >");
  return {};
}

Status MarkedCalls(ChatFormat format, Cursor& cursor, Message& message) {
  for (;;) {
    std::string_view stop;
    const std::string_view between = cursor.Until({kToolCall, kToolCallsEnd}, stop);
    if (stop.empty()) return Wrong("the calls are not closed by {}", kToolCallsEnd);
    const bool separator = between == "\n" && stop == kToolCall && !message.tool_calls.empty();
    if (!between.empty() && !separator) return Wrong("text between two calls");
    if (stop == kToolCallsEnd) return {};
    const std::string_view body = cursor.Until({kToolCallEnd}, stop);
    if (stop.empty()) return Wrong("a call is not closed by {}", kToolCallEnd);
    const auto call = ReadMarkedCall(format, body);
    if (!call)
      return Wrong("a call that is not {} and arguments", format == ChatFormat::kV31
                                                              ? "a name, a separator"
                                                              : "function, a separator, a name, a ```json fence");
    message.tool_calls.push_back(*call);
  }
}

}  // namespace

Result<Message> ParseCompletion(ChatFormat format, std::string_view completion, ThinkingMode mode) {
  const bool v32 = format == ChatFormat::kV32;
  const std::string opener = v32 ? "\n\n" + std::string(kCalls) : std::string(kToolCalls);
  Cursor cursor(completion);
  Message message;
  message.role = "assistant";
  std::string_view stop;
  // R1 opens its reasoning itself.
  const bool opened = format == ChatFormat::kR1 && cursor.Take(kThink);
  if (mode == ThinkingMode::kThinking || opened) {
    message.reasoning_content = cursor.Until({kThinkEnd, opener}, stop);
    if (stop != kThinkEnd)
      return Wrong("the reasoning is not closed by {}{}", kThinkEnd, stop.empty() ? "" : " before the calls");
    MINKE_TRY(RefuseMarkers(message.reasoning_content, "reasoning", format));
  }
  message.content = cursor.Until({kEnd, opener}, stop);
  if (stop.empty()) return Wrong("the content has no end marker");
  MINKE_TRY(RefuseMarkers(message.content, "content", format));
  if (stop == opener) {
    MINKE_TRY(v32 ? DsmlCalls(cursor, message) : MarkedCalls(format, cursor, message));
    cursor.Take(kEnd);
  }
  if (!cursor.done()) return Wrong("text after the end");
  return message;
}

TolerantMessage ParseTolerantly(ChatFormat format, std::string_view completion, ThinkingMode mode, bool cut) {
  TolerantMessage result;
  const auto strict = ParseCompletion(format, completion, mode);
  if (!strict) result.problem = strict.error().message;
  StreamParser parser(format, mode);
  parser.Push(completion);
  parser.Finish();
  result.message = parser.message();
  if (!cut && !parser.reasoning_closed() && result.message.content.empty()) {
    result.message.content = std::move(result.message.reasoning_content);
    result.message.reasoning_content.clear();
  }
  return result;
}

}  // namespace minke
