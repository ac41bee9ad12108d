// One line of training data as tokens, with the places where something is to be learned.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/token_id.h"
#include "minke/text/chat_template.h"
#include "minke/text/tokenizer.h"
#include "minke/train/text_files.h"

namespace minke {

struct Document {
  std::vector<TokenId> tokens;
  std::vector<uint8_t> loss;  // 1: the token is a target, to be predicted from those before it. The first never is.
  bool is_text = false;       // may be continued in another sequence where it is too long
};

struct DocumentOptions {
  // Of texts; messages have what the template says.
  bool begin_token = true, end_token = true;
  bool parse_markers = true;  // <think> in a text is the token, not its letters
};

// Texts: a target is every token but the first. Messages: what an assistant said (AssistantTurn) unless its "loss" is
// false; V3.2 thinks if a message after the last question has reasoning, and shows no earlier reasoning, as at
// inference; parts are the answer in thinking mode, tokenized one by one. Immutable; the tokenizer outlives it.
class DocumentEncoder {
 public:
  // Errors: kInvalidArgument for a tokenizer that lacks the begin or end token.
  static Result<DocumentEncoder> Create(const Tokenizer& tokenizer, const TemplateChoice& choice,
                                        const DocumentOptions& options);

  // Errors: kInvalidArgument: the template refuses the messages, there is nothing to learn, or the
  // tokenizer lacks a marker of the template.
  Result<Document> Encode(const DataLine& line) const;
  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  DocumentEncoder(const Tokenizer& tokenizer, const TemplateChoice& choice, const DocumentOptions& options)
      : tokenizer_(&tokenizer), choice_(choice), options_(options) {}
  Result<Document> EncodeMessages(const DataLine& line) const;
  void Append(Document& document, std::string_view text, bool target, bool markers) const;

  const Tokenizer* tokenizer_;
  TemplateChoice choice_;
  DocumentOptions options_;
};

}  // namespace minke
