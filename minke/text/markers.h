// The markers of the chat formats. The bar is U+FF5C and the block U+2581; ASCII look-alikes are other text.
#pragma once

#include <string_view>

namespace minke::markers {

inline constexpr std::string_view kBegin = "<｜begin▁of▁sentence｜>", kEnd = "<｜end▁of▁sentence｜>";
inline constexpr std::string_view kUser = "<｜User｜>", kAssistant = "<｜Assistant｜>";
inline constexpr std::string_view kThink = "<think>", kThinkEnd = "</think>";

// V3.2
inline constexpr std::string_view kDsml = "｜DSML｜";
inline constexpr std::string_view kCalls = "<｜DSML｜function_calls", kCallsEnd = "</｜DSML｜function_calls";
inline constexpr std::string_view kInvoke = "<｜DSML｜invoke", kInvokeEnd = "</｜DSML｜invoke";
inline constexpr std::string_view kParameter = "<｜DSML｜parameter", kParameterEnd = "</｜DSML｜parameter";

// V3, R1, V3.1
inline constexpr std::string_view kToolCalls = "<｜tool▁calls▁begin｜>", kToolCallsEnd = "<｜tool▁calls▁end｜>";
inline constexpr std::string_view kToolCall = "<｜tool▁call▁begin｜>", kToolCallEnd = "<｜tool▁call▁end｜>";
inline constexpr std::string_view kToolSep = "<｜tool▁sep｜>";
inline constexpr std::string_view kToolOutputs = "<｜tool▁outputs▁begin｜>", kToolOutputsEnd = "<｜tool▁outputs▁end｜>";
inline constexpr std::string_view kToolOutput = "<｜tool▁output▁begin｜>", kToolOutputEnd = "<｜tool▁output▁end｜>";

}  // namespace minke::markers
