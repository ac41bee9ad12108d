// What a model wrote -> a message. The strict form refuses what the format does not allow; the tolerant form never
// fails, whatever the model wrote. stream_parser.h does the same piece by piece.
#pragma once

#include <string>
#include <string_view>

#include "minke/base/result.h"
#include "minke/text/chat.h"

namespace minke {

// `completion`: the text after the prompt, end marker included. Errors: kInvalidArgument saying what is out of place.
// A value with string="false" goes into the arguments as it stands, JSON or not.
Result<Message> ParseCompletion(ChatFormat format, std::string_view completion, ThinkingMode mode);

struct TolerantMessage {
  Message message;
  std::string problem;  // why the strict form refuses the text; empty if it does not
};

// Text that breaks the format comes back as content, calls that were complete before the break are kept, missing
// newlines and brackets are forgiven, and arguments are always valid JSON. `cut`: the model was stopped before its end
// marker; then reasoning without </think> stays reasoning, else it is content.
TolerantMessage ParseTolerantly(ChatFormat format, std::string_view completion, ThinkingMode mode, bool cut);

}  // namespace minke
