#include "minke/train/document.h"

#include <algorithm>

#include "minke/text/chat.h"

namespace minke {
namespace {

constexpr std::string_view kNoToken = "the tokenizer has no token {}: it is not the one of this chat format";

// Whether the turn after the last question has reasoning, which is where V3.2 shows any.
bool Thinks(std::span<const Message> messages) {
  bool thinks = false;
  for (const Message& message : messages) {
    if (message.role == "user" || message.role == "developer") thinks = false;
    if (message.role == "assistant" && !message.reasoning_content.empty()) thinks = true;
  }
  return thinks;
}

}  // namespace

Result<DocumentEncoder> DocumentEncoder::Create(const Tokenizer& tokenizer, const TemplateChoice& choice,
                                                const DocumentOptions& options) {
  for (const auto& [wanted, marker] :
       {std::pair(options.begin_token, markers::kBegin), std::pair(options.end_token, markers::kEnd)})
    if (wanted && !tokenizer.TokenToId(marker)) return Fail(Code::kInvalidArgument, kNoToken, marker);
  return DocumentEncoder(tokenizer, choice, options);
}

void DocumentEncoder::Append(Document& document, std::string_view text, bool target, bool markers) const {
  const std::vector<TokenId> ids = tokenizer_->Encode(text, markers);
  document.tokens.insert(document.tokens.end(), ids.begin(), ids.end());
  document.loss.resize(document.tokens.size(), target);
}

// A turn begins and ends at a marker, which BPE never joins with its neighbours: encoded by parts, the prompt has the
// tokens that it has as a whole.
Result<Document> DocumentEncoder::EncodeMessages(const DataLine& line) const {
  const bool v32 = choice_.format == ChatFormat::kV32;
  for (const std::string_view marker : {markers::kUser, markers::kAssistant, markers::kEnd, markers::kThinkEnd}) {
    const bool needed = marker != markers::kThinkEnd || v32 || choice_.format == ChatFormat::kV31;
    if (needed && !tokenizer_->TokenToId(marker)) return Fail(Code::kInvalidArgument, kNoToken, marker);
  }
  std::vector<AssistantTurn> turns;
  EncodeOptions options;
  options.turns = &turns;
  options.add_generation_prompt = false;
  if (v32 && Thinks(line.messages)) options.thinking_mode = ThinkingMode::kThinking;
  for (size_t i = 0; i < line.messages.size(); ++i)
    if (!v32 && !line.messages[i].reasoning_content.empty())
      return Fail(Code::kInvalidArgument, "messages[{}]: the format {} shows no reasoning of an answer that is given",
                  i, Name(choice_.format));
  MINKE_ASSIGN(const std::string prompt, EncodeChat(choice_.format, line.messages, options));
  const std::string_view text = prompt;
  Document document;
  size_t done = 0;
  for (const AssistantTurn& turn : turns) {
    Append(document, text.substr(done, turn.begin - done), false, true);
    Append(document, text.substr(turn.begin, turn.end - turn.begin), line.loss[turn.message], true);
    done = turn.end;
  }
  // What comes after the last answer (a question, the opening of a turn) teaches nothing and costs time.
  return document;
}

// The prompt of a thinking turn, then part by part, as a rollout's tokens come.
Result<Document> DocumentEncoder::EncodeParts(const DataLine& line) const {
  EncodeOptions options;
  options.thinking_mode = ThinkingMode::kThinking;
  options.opens_think = choice_.opens_think;
  MINKE_ASSIGN(const std::string prompt, EncodeChat(choice_.format, line.messages, options));
  Document document;
  Append(document, prompt, false, true);
  for (const DataLine::Part& part : line.parts) Append(document, part.text, part.loss, true);
  return document;
}

Result<Document> DocumentEncoder::Encode(const DataLine& line) const {
  Document document;
  if (line.is_text) {
    if (options_.begin_token) document.tokens.push_back(*tokenizer_->TokenToId(markers::kBegin));
    Append(document, line.text, true, options_.parse_markers);
    if (options_.end_token) document.tokens.push_back(*tokenizer_->TokenToId(markers::kEnd));
    document.loss.assign(document.tokens.size(), line.text.empty() ? 0 : 1);
  } else if (!line.parts.empty()) {
    MINKE_ASSIGN(document, EncodeParts(line));
  } else {
    MINKE_ASSIGN(document, EncodeMessages(line));
  }
  document.is_text = line.is_text;
  if (!document.loss.empty()) document.loss[0] = 0;
  if (std::ranges::count(document.loss, 1) == 0)
    return Fail(Code::kInvalidArgument, "nothing to learn: {}",
                line.is_text ? "the text is empty" : "no assistant message with loss");
  return document;
}

}  // namespace minke
