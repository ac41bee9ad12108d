#include "minke/engine/drafter.h"

namespace minke {

Drafter::Drafter(Forward& forward, Sampler& sampler, int64_t max_sequences, int64_t max_batch_tokens)
    : forward_(forward), sampler_(sampler) {
  items_.reserve(max_sequences);
  rows_.reserve(max_batch_tokens);
  lines_.reserve(max_sequences);
}

void Drafter::Begin() {
  items_.clear();
  rows_.clear();
  lines_.clear();
}

void Drafter::Add(const Part& part) {
  part.request.drafts.clear();
  items_.push_back({.tokens = std::span<const TokenId>(part.request.tokens).subspan(part.pos + 1, part.count),
                    .first_pos = part.pos,
                    .pages = part.pages,
                    .logits = part.num_drafts > 0 ? BatchItem::Logits::kLast : BatchItem::Logits::kNone});
  for (int64_t i = 0; i < part.count; ++i) rows_.push_back(static_cast<int32_t>(part.row + i));
  if (part.num_drafts == 0) return;
  lines_.push_back(
      {.request = &part.request, .pages = part.pages, .pos = part.pos + part.count - 1, .num_drafts = part.num_drafts});
}

void Drafter::Run() {
  if (items_.empty()) return;
  for (;;) {
    Guess(forward_.RunMtp(items_, forward_.hidden(), rows_));
    std::erase_if(lines_, [](const Line& line) { return !WantsMore(line); });
    if (lines_.empty()) return;
    // The layer's own output stands for the main hidden state that nobody knows yet. The rows that this writes are
    // overwritten once the tokens are known.
    items_.clear();
    rows_.clear();
    for (Line& line : lines_) {
      items_.push_back({.tokens = std::span<const TokenId>(line.request->drafts).last(1),
                        .first_pos = ++line.pos,
                        .pages = line.pages});
      rows_.push_back(line.row);
    }
  }
}

// One more draft for every line, in the order of their rows of logits.
void Drafter::Guess(TensorView<const float, 2> logits) {
  for (int64_t i = 0; i < std::ssize(lines_); ++i) {
    Request& request = *lines_[i].request;
    lines_[i].row = static_cast<int32_t>(i);
    const int64_t index = request.generated() + std::ssize(request.drafts);
    const Result<TokenId> draft = sampler_.Choose(logits[i], request.params, request.history, request.seed, index);
    if (draft) {
      request.drafts.push_back(*draft);
    } else {
      lines_[i].num_drafts = 0;  // a broken MTP layer costs speed, never an answer
    }
  }
}

bool Drafter::WantsMore(const Line& line) {
  return std::ssize(line.request->drafts) < line.num_drafts && line.pos + 1 < std::ssize(line.pages) * kPageTokens;
}

}  // namespace minke
