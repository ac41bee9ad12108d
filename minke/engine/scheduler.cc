#include "minke/engine/scheduler.h"

#include <algorithm>

#include "minke/base/check.h"

namespace minke {
namespace {

// The last token of an answer is sampled but never run, so it needs no row.
int64_t MostRows(int64_t prompt_tokens, int64_t max_tokens) { return prompt_tokens + max_tokens - 1; }

}  // namespace

Scheduler::Scheduler(PagePool& pool, const SchedulerOptions& options) : pool_(pool), options_(options) {
  MINKE_CHECK(options.max_sequences >= 1 && options.max_sequences <= options.max_batch_tokens);
  MINKE_CHECK(options.prefill_chunk >= 1);
  plan_.reserve(options.max_sequences);
}

int64_t Scheduler::MostTokens(int64_t num_pages) { return num_pages * kPageTokens + 1; }

Status Scheduler::CheckFits(int64_t num_pages, int64_t prompt_tokens, int64_t max_tokens) {
  const int64_t needed = PagePool::PagesFor(MostRows(prompt_tokens, max_tokens));
  if (needed <= num_pages) return {};
  return Fail(Code::kNoMemory,
              "prompt ({} tokens) + max_tokens ({}) needs {} cache pages of {} tokens, the whole cache has {}",
              prompt_tokens, max_tokens, needed, kPageTokens, num_pages);
}

Status Scheduler::Add(RequestId id, int64_t prompt_tokens, int64_t max_tokens) {
  MINKE_CHECK(line_.empty() || line_.back().id < id);
  MINKE_CHECK(prompt_tokens >= 1 && max_tokens >= 1);
  MINKE_TRY(CheckFits(pool_.num_pages(), prompt_tokens, max_tokens));
  const int64_t most_rows = MostRows(prompt_tokens, max_tokens);
  line_.push_back({.id = id,
                   .known = prompt_tokens,
                   .most_rows = most_rows,
                   .table = PageTable(pool_, PagePool::PagesFor(most_rows))});
  return {};
}

std::span<const PlanItem> Scheduler::Schedule() {
  GrowRunning();
  Admit();
  plan_.clear();
  int64_t budget = options_.max_batch_tokens;
  int64_t spare = budget - num_running_;  // rows that drafts may take: one stays for each running sequence
  for (int64_t i = 0; i < num_running_; ++i) {
    if (line_[i].remaining() != 1) continue;
    const int64_t num_drafts = RoomForDrafts(line_[i], std::min(line_[i].proposed, spare));
    Plan(line_[i], 1, num_drafts);
    budget -= 1 + num_drafts;
    spare -= num_drafts;
  }
  // One row at least is left for each that still prefills, so the oldest of them gets one.
  int64_t prefill = std::min(budget, options_.prefill_chunk);
  for (int64_t i = 0; i < num_running_ && prefill > 0; ++i) {
    const int64_t count = std::min(line_[i].remaining(), prefill);
    if (count <= 0) continue;
    Plan(line_[i], count, 0);
    prefill -= count;
  }
  return plan_;
}

// How many of `most` drafts have a place in the sequence's pages and in free ones.
int64_t Scheduler::RoomForDrafts(Sequence& sequence, int64_t most) {
  PageTable& table = sequence.table;
  const int64_t wanted = PagePool::PagesFor(sequence.known + most);
  const int64_t pages = std::min(wanted, table.size() + pool_.free_pages());
  if (pages > table.size()) MINKE_CHECK(table.Grow(pages).has_value());
  return std::min(most, table.size() * kPageTokens - sequence.known);
}

void Scheduler::Plan(Sequence& sequence, int64_t count, int64_t num_drafts) {
  const int64_t begin = sequence.computed, end = begin + count;
  plan_.push_back({.id = sequence.id,
                   .begin = begin,
                   .end = end,
                   .num_drafts = num_drafts,
                   .wants_logits = end == sequence.known,
                   .pages = sequence.table.pages()});
  sequence.computed = end;
  sequence.proposed = 0;
  sequence.drafted = num_drafts;
}

void Scheduler::GrowRunning() {
  for (int64_t i = 0; i < num_running_; ++i) {
    const int64_t pages = PagePool::PagesFor(line_[i].known);
    while (i < num_running_ && pages - line_[i].table.size() > pool_.free_pages()) PreemptYoungest();
    if (i < num_running_) MINKE_CHECK(line_[i].table.Grow(pages).has_value());
  }
}

void Scheduler::PreemptYoungest() {
  Sequence& youngest = line_[--num_running_];
  youngest.table.Clear();
  youngest.computed = youngest.proposed = 0;
  ++num_preemptions_;
}

void Scheduler::Admit() {
  while (num_running_ < options_.max_sequences && num_waiting() > 0) {
    Sequence& head = line_[num_running_];
    const int64_t pages = PagePool::PagesFor(head.known);
    // One page is left for each running sequence: otherwise the newcomer would soon be put back, its work lost.
    if (pages + num_running_ > pool_.free_pages()) return;
    MINKE_CHECK(head.table.Grow(pages).has_value());
    ++num_running_;
  }
}

std::deque<Scheduler::Sequence>::iterator Scheduler::Find(RequestId id) {
  const auto found = std::lower_bound(line_.begin(), line_.end(), id,
                                      [](const Sequence& sequence, RequestId wanted) { return sequence.id < wanted; });
  return found != line_.end() && found->id == id ? found : line_.end();
}

void Scheduler::Append(RequestId id, int64_t num_tokens, int64_t num_right) {
  const auto found = Find(id);
  MINKE_CHECK(found != line_.end());
  MINKE_CHECK(found->remaining() == 0);
  MINKE_CHECK(num_right >= 0 && num_right <= found->drafted && num_right < num_tokens);
  MINKE_CHECK(num_tokens <= found->most_rows - found->known);
  found->known += num_tokens;
  found->computed += num_right;
  found->drafted = 0;
}

void Scheduler::Propose(RequestId id, int64_t num_drafts) {
  const auto found = Find(id);
  MINKE_CHECK(found != line_.end());
  MINKE_CHECK(found->remaining() == 1 && num_drafts >= 0 && found->known + num_drafts <= found->most_rows);
  found->proposed = num_drafts;
}

bool Scheduler::Remove(RequestId id) {
  const auto found = Find(id);
  if (found == line_.end()) return false;
  if (found - line_.begin() < num_running_) --num_running_;
  line_.erase(found);
  return true;
}

}  // namespace minke
