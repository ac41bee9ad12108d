// One tool call between the markers of V3, R1 and V3.1, exactly as those formats have it. Private to the room.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "minke/text/chat.h"
#include "minke/text/markers.h"

namespace minke {

// V3, R1: 'function<sep>NAME\n```json\nARGS\n```'; V3.1: 'NAME<sep>ARGS'. ARGS is not checked.
inline std::optional<ToolCall> ReadMarkedCall(ChatFormat format, std::string_view body) {
  const size_t sep = body.find(markers::kToolSep);
  if (sep == std::string_view::npos) return std::nullopt;
  const std::string_view before = body.substr(0, sep), after = body.substr(sep + markers::kToolSep.size());
  if (format == ChatFormat::kV31) return ToolCall{"", std::string(before), std::string(after)};
  constexpr std::string_view kOpen = "\n```json\n", kClose = "\n```";
  const size_t open = after.find('\n');
  if (before != "function" || open == std::string_view::npos || !after.substr(open).starts_with(kOpen))
    return std::nullopt;
  const std::string_view rest = after.substr(open + kOpen.size());
  if (!rest.ends_with(kClose)) return std::nullopt;
  return ToolCall{"", std::string(after.substr(0, open)), std::string(rest.substr(0, rest.size() - kClose.size()))};
}

}  // namespace minke
