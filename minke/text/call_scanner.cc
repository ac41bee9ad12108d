#include "minke/text/call_scanner.h"

#include <algorithm>
#include <initializer_list>

#include "minke/text/arguments.h"
#include "minke/text/marked_call.h"
#include "minke/text/markers.h"

namespace minke {
namespace {

using namespace markers;  // NOLINT: the names of the format
using Step = CallScanner::Step;
constexpr size_t kNone = std::string_view::npos;
constexpr std::string_view kSpaces = " \t\n\r\f\v";

std::string_view Trim(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size()));
  return text.substr(0, text.find_last_not_of(kSpaces) + 1);
}
// One level less than the encoder reads, because the value becomes a member of the arguments.
bool IsJson(std::string_view text) { return PromptJson::Parse(text, "", PromptJson::kMaxDepth - 1).has_value(); }
bool IsJsonObject(std::string_view text) {
  const auto json = PromptJson::Parse(text, "");
  return json && json->is_object();
}
std::string JsonOrString(std::string_view text) {
  if (IsJson(text)) return std::string(text);
  std::string json;
  AppendJsonString(json, text);
  return json;
}

// Reading position and searches that remember how far they came.
class Scanner : public CallScanner {
 public:
  explicit Scanner(size_t opener_end) : pos_(opener_end), searched_(opener_end) {}

 protected:
  void SkipSpace(std::string_view block) { pos_ = std::min(block.find_first_not_of(kSpaces, pos_), block.size()); }

  // Skips white space. 1: `tag` was there and is taken. 0: it is not there. -1: the text ends too early to tell.
  int TakeTag(std::string_view block, std::string_view tag) {
    SkipSpace(block);
    const std::string_view rest = block.substr(pos_);
    if (rest.starts_with(tag)) {
      pos_ += tag.size();
      return 1;
    }
    return tag.starts_with(rest) ? -1 : 0;
  }

  // The first of the tags behind pos_: its place, and in `found` its number. kNone until one is there.
  size_t FindTag(std::string_view block, std::initializer_list<std::string_view> tags, size_t& found) {
    size_t longest = 0, best = kNone, number = 0;
    searched_ = std::max(searched_, pos_);
    for (std::string_view tag : tags) {
      longest = std::max(longest, tag.size());
      const size_t at = block.substr(0, best == kNone ? kNone : best + tag.size()).find(tag, searched_);
      if (at < best) {
        best = at;
        found = number;
      }
      ++number;
    }
    if (best == kNone) searched_ = std::max(searched_, block.size() - std::min(block.size(), longest - 1));
    return best;
  }

  size_t pos_;
  size_t searched_;  // no tag that is being looked for begins before here
};

class DsmlScanner : public Scanner {
 public:
  using Scanner::Scanner;

  Step Next(std::string_view block, ToolCall& call) override {
    for (;;) {
      Step step = Step::kNeedMore;
      bool moved = false;
      switch (state_) {
        case State::kBetween:
          moved = Between(block, step);
          break;
        case State::kHead:
          moved = Head(block, step);
          break;
        case State::kParameter:
          moved = Parameter(block, step);
          break;
        case State::kAfterParameter:
          moved = AfterParameter(block, step);
          break;
        case State::kCallEnd:
          moved = CallEnd(block, call, step);
          break;
        case State::kBlockEnd:
          moved = BlockEnd(block, step);
          break;
      }
      if (!moved) return step;
    }
  }

 private:
  enum class State { kBetween, kHead, kParameter, kAfterParameter, kCallEnd, kBlockEnd };

  // Each of these returns true to go on in the state it set, or false with the step to return.
  bool Between(std::string_view block, Step& step) {
    if (!bracket_done_) {  // the > of the tag before
      const int bracket = TakeTag(block, ">");
      if (bracket < 0) return false;
      bracket_done_ = true;
    }
    SkipSpace(block);
    if (good_ > 0) good_ = pos_;  // the newline between two calls is not content
    const int invoke = TakeTag(block, kInvoke);
    if (invoke > 0) {
      state_ = State::kHead;
      return true;
    }
    const int closing = TakeTag(block, kCallsEnd);
    if (closing > 0) {
      state_ = State::kBlockEnd;
      return true;
    }
    // The model may end its answer without closing the block.
    if (block.substr(pos_).starts_with(kEnd)) {
      good_ = pos_;
      step = Step::kEnd;
      return false;
    }
    const bool unclear = invoke < 0 || closing < 0 || kEnd.starts_with(block.substr(pos_));
    step = unclear ? Step::kNeedMore : Step::kError;
    return false;
  }

  bool Head(std::string_view block, Step& step) {
    size_t which = 0;
    const size_t end = FindTag(block, {kParameter, kInvokeEnd}, which);
    if (end == kNone) return false;
    std::string_view head = Trim(block.substr(pos_, end - pos_));
    constexpr std::string_view kName = "name=\"", kClose = "\">";
    step = Step::kError;
    if (!head.starts_with(kName)) return false;
    head.remove_prefix(kName.size());
    name_.clear();
    arguments_ = Arguments();
    body_.clear();
    if (head.ends_with(kClose)) {
      name_ = head.substr(0, head.size() - kClose.size());
    } else {
      // A call without parameters whose body is a JSON object: those are its arguments.
      const size_t close = head.find(kClose);
      if (close == kNone || which == 0) return false;
      name_ = head.substr(0, close);
      body_ = Trim(head.substr(close + kClose.size()));
      if (!IsJsonObject(body_)) return false;
    }
    pos_ = end + (which == 0 ? kParameter.size() : kInvokeEnd.size());
    state_ = which == 0 ? State::kParameter : State::kCallEnd;
    return true;
  }

  bool Parameter(std::string_view block, Step& step) {
    size_t which = 0;
    const size_t end = FindTag(block, {kParameterEnd}, which);
    if (end == kNone) return false;
    step = Step::kError;
    if (!AddParameter(block.substr(pos_, end - pos_))) return false;
    pos_ = end + kParameterEnd.size();
    state_ = State::kAfterParameter;
    bracket_done_ = false;
    return true;
  }

  // ' name="K" string="true|false">VALUE'
  bool AddParameter(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size()));
    constexpr std::string_view kName = "name=\"", kTrue = "\" string=\"true\">", kFalse = "\" string=\"false\">";
    if (!text.starts_with(kName)) return false;
    text.remove_prefix(kName.size());
    const size_t at_true = text.find(kTrue), at_false = text.find(kFalse);
    if (const size_t at = std::min(at_true, at_false); at != kNone)
      return Add(text.substr(0, at), at_true < at_false,
                 text.substr(at + (at_true < at_false ? kTrue : kFalse).size()));
    // The same with other white space.
    for (size_t quote = text.find('"'); quote != kNone; quote = text.find('"', quote + 1)) {
      std::string_view rest = text.substr(quote + 1);
      const auto take = [&rest](std::string_view literal) {
        rest.remove_prefix(std::min(rest.find_first_not_of(kSpaces), rest.size()));
        if (!rest.starts_with(literal)) return false;
        rest.remove_prefix(literal.size());
        return true;
      };
      if (!take("string") || !take("=")) continue;
      const bool is_string = take("\"true\"");
      if ((is_string || take("\"false\"")) && take(">")) return Add(text.substr(0, quote), is_string, rest);
    }
    return false;
  }
  bool Add(std::string_view name, bool is_string, std::string_view value) {
    return is_string ? arguments_.AddString(name, value) : arguments_.Add(name, JsonOrString(value));
  }

  bool AfterParameter(std::string_view block, Step& step) {
    if (!bracket_done_) {
      if (TakeTag(block, ">") < 0) return false;
      bracket_done_ = true;
    }
    const int parameter = TakeTag(block, kParameter);
    const int closing = parameter > 0 ? 0 : TakeTag(block, kInvokeEnd);
    if (parameter <= 0 && closing <= 0) {
      step = parameter < 0 || closing < 0 ? Step::kNeedMore : Step::kError;
      return false;
    }
    state_ = parameter > 0 ? State::kParameter : State::kCallEnd;
    return true;
  }

  bool CallEnd(std::string_view block, ToolCall& call, Step& step) {
    // A bracket may be missing, so the call is whole at once; the bracket belongs to what comes between calls.
    (void)block;
    call = {"", name_, body_.empty() ? arguments_.Text() : body_};
    good_ = pos_;
    state_ = State::kBetween;
    bracket_done_ = false;
    step = Step::kCall;
    return false;
  }

  bool BlockEnd(std::string_view block, Step& step) {
    if (block.size() == pos_) return false;
    if (block[pos_] == '>') ++pos_;
    good_ = pos_;
    step = Step::kEnd;
    return false;
  }

  State state_ = State::kBetween;
  bool bracket_done_ = false;
  std::string name_, body_;
  Arguments arguments_;
};

class MarkedScanner : public Scanner {
 public:
  MarkedScanner(ChatFormat format, size_t opener_end) : Scanner(opener_end), format_(format) {}

  Step Next(std::string_view block, ToolCall& call) override {
    if (!inside_) {
      const int open = TakeTag(block, kToolCall);
      if (open <= 0) {
        const int closing = TakeTag(block, kToolCallsEnd);
        const bool ended = block.substr(pos_).starts_with(kEnd);
        if (closing > 0 || ended) {
          good_ = pos_;
          return Step::kEnd;
        }
        const bool unclear = open < 0 || closing < 0 || kEnd.starts_with(block.substr(pos_));
        return unclear ? Step::kNeedMore : Step::kError;
      }
      inside_ = true;
    }
    size_t which = 0;
    const size_t end = FindTag(block, {kToolCallEnd}, which);
    if (end == kNone) return Step::kNeedMore;
    if (!Read(block.substr(pos_, end - pos_), call)) return Step::kError;
    pos_ = good_ = end + kToolCallEnd.size();
    inside_ = false;
    return Step::kCall;
  }

 private:
  // The exact form, or one with or without a fence in either format.
  bool Read(std::string_view body, ToolCall& call) const {
    if (const auto exact = ReadMarkedCall(format_, body); exact && IsJsonObject(exact->arguments)) {
      call = *exact;
      return true;
    }
    const size_t sep = body.find(kToolSep);
    if (sep == kNone) return false;
    std::string_view name = body.substr(0, sep), arguments = body.substr(sep + kToolSep.size());
    constexpr std::string_view kFence = "```";
    if (const size_t open = arguments.find(kFence); name == "function" && open != kNone) {
      name = Trim(arguments.substr(0, open));
      arguments = Trim(arguments.substr(open + kFence.size()));
      if (arguments.starts_with("json")) arguments.remove_prefix(4);
      if (arguments.ends_with(kFence)) arguments.remove_suffix(kFence.size());
    }
    arguments = Trim(arguments);
    if (!IsJsonObject(arguments)) return false;
    call = {"", std::string(name), std::string(arguments)};
    return true;
  }

  ChatFormat format_;
  bool inside_ = false;
};

}  // namespace

std::unique_ptr<CallScanner> MakeCallScanner(ChatFormat format, size_t opener_end) {
  if (format == ChatFormat::kV32) return std::make_unique<DsmlScanner>(opener_end);
  return std::make_unique<MarkedScanner>(format, opener_end);
}

}  // namespace minke
