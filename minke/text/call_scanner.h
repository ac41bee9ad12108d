// Reads tool calls one by one from a block that is still growing. Private to the room.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "minke/text/chat.h"

namespace minke {

// `block` is all text since the opener began, longer at each call. Every byte is looked at a bounded number of times
// over all calls.
class CallScanner {
 public:
  enum class Step {
    kNeedMore,
    kCall,   // `call` is filled; good() moved behind it
    kEnd,    // the block is over; good() is the first byte behind it
    kError,  // good() is where the text that does not fit begins
  };
  virtual ~CallScanner() = default;
  virtual Step Next(std::string_view block, ToolCall& call) = 0;
  size_t good() const { return good_; }

 protected:
  size_t good_ = 0;
};

// `opener_end`: where the opener's text ends in the block.
std::unique_ptr<CallScanner> MakeCallScanner(ChatFormat format, size_t opener_end);

}  // namespace minke
