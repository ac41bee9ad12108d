// Which tokens of which sequences run in the next step. Knows counts and pages, neither tokens nor threads nor
// clocks: a test calls Schedule() by hand. One thread at a time.
//
// Sequences stand in one line, in order of arrival; the front part of the line runs, the rest waits.
//   - A step takes first one token of every sequence that decodes, each with its drafts (guesses of its next tokens,
//     which run as rows after the known ones), then prompt chunks of the oldest others. Tokens that were given to a
//     sequence run as a prompt's do.
//   - Drafts take what is left: a row that no running sequence needs, a page that is free.
//   - The head of the waiting part starts when a place and pages for all its known tokens are free. Nobody
//     overtakes, so nobody starves.
//   - When a running sequence needs a page and none is free, the youngest running one gives all of its pages
//     back and waits again, at the head. Later its known tokens are computed anew, to the same bytes. The
//     oldest is never put back and fits alone (CheckFits), so every step brings somebody nearer to its end.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "minke/base/result.h"
#include "minke/engine/page_pool.h"
#include "minke/engine/token_sink.h"

namespace minke {

struct SchedulerOptions {
  int64_t max_batch_tokens = 512;
  int64_t max_sequences = 16;   // running at once; at most max_batch_tokens, so that each can decode every step
  int64_t prefill_chunk = 512;  // prompt tokens in one step, all sequences together
};

// Tokens [begin, end) of sequence `id` run; rows [0, begin) are in its pages. `wants_logits`: end is all that is
// known, so the caller samples the next token, or several if drafts were right, and calls Append or Remove. Drafts run
// as rows [end, end + num_drafts).
struct PlanItem {
  RequestId id = 0;
  int64_t begin = 0, end = 0;
  int64_t num_drafts = 0;
  bool wants_logits = false;
  std::span<float* const> pages;
};

class Scheduler {
 public:
  Scheduler(PagePool& pool, const SchedulerOptions& options);

  // Whether a sequence could run if it were alone. kNoMemory with the numbers.
  static Status CheckFits(int64_t num_pages, int64_t prompt_tokens, int64_t max_tokens);

  // The longest prompt + answer for which CheckFits holds.
  static int64_t MostTokens(int64_t num_pages);

  // Ids ascend. Errors: those of CheckFits, and the sequence is not taken.
  Status Add(RequestId id, int64_t prompt_tokens, int64_t max_tokens);
  // The next step, which the caller carries out before it calls again; empty when there is nothing to do. Valid
  // until the next call, but for the items' pages: those go with Remove.
  std::span<const PlanItem> Schedule();
  // More tokens are known, sampled or given; together they stay within prompt_tokens + max_tokens - 1. The first
  // num_right of them, fewer than all, were the last step's drafts, so their rows are written; those of other drafts
  // count as never written.
  void Append(RequestId id, int64_t num_tokens = 1, int64_t num_right = 0);
  // The next tokens of a sequence that decodes have been guessed: the next step may run that many drafts or fewer. What
  // it does not run is forgotten. The guessed tokens' rows must be within prompt_tokens + max_tokens - 1.
  void Propose(RequestId id, int64_t num_drafts);
  // Ended or cancelled, at any moment between steps. False if `id` is unknown.
  bool Remove(RequestId id);

  int64_t num_running() const { return num_running_; }
  int64_t num_waiting() const { return static_cast<int64_t>(line_.size()) - num_running_; }
  int64_t num_preemptions() const { return num_preemptions_; }

 private:
  struct Sequence {
    RequestId id;
    int64_t known;         // prompt, generated and given tokens
    int64_t computed = 0;  // of these, rows in the cache
    int64_t proposed = 0;  // drafts for the next step
    int64_t drafted = 0;   // rows after `computed` that the last step has filled with drafts
    int64_t most_rows;
    PageTable table;
    int64_t remaining() const { return known - computed; }
  };
  std::deque<Sequence>::iterator Find(RequestId id);
  void GrowRunning();
  void Admit();
  void PreemptYoungest();
  int64_t RoomForDrafts(Sequence& sequence, int64_t most);
  void Plan(Sequence& sequence, int64_t count, int64_t num_drafts);

  PagePool& pool_;
  const SchedulerOptions options_;
  std::deque<Sequence> line_;  // ids ascending; [0, num_running_) run
  int64_t num_running_ = 0;
  int64_t num_preemptions_ = 0;
  std::vector<PlanItem> plan_;
};

}  // namespace minke
