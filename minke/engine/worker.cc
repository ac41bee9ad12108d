#include "minke/engine/worker.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "minke/base/check.h"

namespace minke {
namespace {

constexpr int64_t kMostDecodeRows = 1 + kMaxDraftTokens;  // of one sequence in one step

double Seconds(Request::Clock::time_point from, Request::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// Sum over positions p in [begin, end) of min(p + 1, most): the keys that those queries read in one layer.
int64_t KeysRead(int64_t begin, int64_t end, int64_t most) {
  const int64_t full = std::clamp(most, begin, end);  // from here on every query reads `most`
  return (full * (full + 1) - begin * (begin + 1)) / 2 + (end - full) * most;
}

}  // namespace

Engine::Worker::Worker(Parts parts)
    : parts_(std::move(parts)),
      scheduler_(*parts_.pages, parts_.scheduler),
      sampler_(*parts_.kernels, parts_.model->config().vocab_size) {
  if (parts_.speculation != Speculation::kOff) {
    drafter_ = std::make_unique<Drafter>(*parts_.forward, sampler_, parts_.scheduler.max_sequences,
                                         parts_.scheduler.max_batch_tokens);
  }
  batch_.reserve(parts_.scheduler.max_sequences);
  batch_tokens_.reserve(parts_.scheduler.max_batch_tokens);
  kept_rows_.reserve(parts_.scheduler.max_sequences);
  ended_.reserve(parts_.scheduler.max_sequences);
  totals_.context = parts_.context;
  totals_.pages_total = parts_.pages->num_pages();
  totals_.page_bytes = parts_.pages->page_bytes();
  published_ = totals_;
  thread_ = std::thread([this] { Loop(); });
}

Engine::Worker::~Worker() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

Result<RequestId> Engine::Worker::Post(std::unique_ptr<Request> request) {
  RequestId id = 0;
  {
    std::lock_guard lock(mutex_);
    if (broken_) return Fail(*broken_);
    id = request->id = next_id_++;  // under the lock, so that ids ascend in the inbox
    request->accepted = Request::Clock::now();
    ++published_.accepted;
    published_.prompt_tokens += request->prompt_tokens;
    inbox_.push_back(std::move(request));
  }
  wake_.notify_one();
  return id;
}

void Engine::Worker::Cancel(RequestId id) {
  {
    std::lock_guard lock(mutex_);
    cancels_.push_back(id);
  }
  wake_.notify_one();
}

EngineStats Engine::Worker::stats() const {
  std::lock_guard lock(mutex_);
  EngineStats stats = published_;
  stats.waiting += static_cast<int64_t>(inbox_.size());
  return stats;
}

void Engine::Worker::Loop() {
  while (TakeMail()) {
    Step();
    Publish();
    TellEndings();
  }
  EndAll(FinishReason::kCancelled, {});
  Publish();
  TellEndings();
}

bool Engine::Worker::TakeMail() {
  bool stop = false;
  std::optional<Error> broken;
  {
    std::unique_lock lock(mutex_);
    const bool idle = requests_.empty();
    wake_.wait(lock, [&] { return stop_ || !idle || !inbox_.empty() || !cancels_.empty(); });
    new_mail_.swap(inbox_);
    new_cancels_.swap(cancels_);
    published_.waiting += static_cast<int64_t>(new_mail_.size());
    stop = stop_;
    broken = broken_;
  }
  for (std::unique_ptr<Request>& request : new_mail_) {
    const RequestId id = request->id;
    const Status added = scheduler_.Add(id, request->prompt_tokens, request->params.max_tokens);
    requests_.emplace(id, std::move(request));
    if (!added) End(id, FinishReason::kFailed, added.error());
  }
  for (const RequestId id : new_cancels_) End(id, FinishReason::kCancelled);
  new_mail_.clear();
  new_cancels_.clear();
  if (broken) EndAll(FinishReason::kFailed, *broken);
  return !stop;
}

void Engine::Worker::Step() {
  const std::span<const PlanItem> plan = scheduler_.Schedule();
  if (plan.empty()) return;
  // Whatever goes wrong in a step ends the requests of that step, not the process and not their neighbours' wait.
  try {
    RunPlan(plan);
  } catch (const std::exception& e) {
    for (const PlanItem& item : plan) {
      End(item.id, FinishReason::kFailed, {Code::kFailed, fmt::format("a step of the engine failed: {}", e.what())});
    }
  }
}

void Engine::Worker::RunPlan(std::span<const PlanItem> plan) {
  const Request::Clock::time_point begin = Request::Clock::now();
  for (const PlanItem& item : plan) {
    Request& request = *requests_.at(item.id);
    if (request.started != Request::Clock::time_point{}) continue;
    request.started = begin;
    request.experts_before = parts_.forward->expert_stats();
  }
  const TensorView<const float, 2> logits = RunModel(plan);
  // Weights that turned into zeros under the step (a file that shrank) give numbers, but no answer.
  if (const Status health = parts_.model->Health(); !health) {
    {
      std::lock_guard lock(mutex_);
      broken_ = health.error();
    }
    EndAll(FinishReason::kFailed, health.error());
    return;
  }
  StepCounts counts = Count(plan);
  Progress(plan);
  kept_rows_.clear();
  int64_t row = 0;
  for (const PlanItem& item : plan) {
    kept_rows_.push_back(item.end - item.begin);
    if (!item.wants_logits) continue;
    const Taken taken = TakeTokens(item, logits.Rows(row, row + 1 + item.num_drafts));
    kept_rows_.back() += taken.right;
    counts.sampled += taken.sampled;
    row += 1 + item.num_drafts;
  }
  if (drafter_) Draft(plan, counts);
  CountTime(counts, Seconds(begin, Request::Clock::now()));
}

TensorView<const float, 2> Engine::Worker::RunModel(std::span<const PlanItem> plan) {
  batch_.clear();
  batch_tokens_.clear();  // never grows beyond its room, so the items' spans stay valid
  for (const PlanItem& item : plan) {
    const Request& request = *requests_.at(item.id);
    const auto first = std::ssize(batch_tokens_);
    batch_tokens_.insert(batch_tokens_.end(), request.tokens.begin() + item.begin, request.tokens.begin() + item.end);
    batch_tokens_.insert(batch_tokens_.end(), request.drafts.begin(), request.drafts.begin() + item.num_drafts);
    // Drafts follow a single known token, so all rows of such an item are wanted.
    batch_.push_back({.tokens = std::span<const TokenId>(batch_tokens_).subspan(first),
                      .first_pos = item.begin,
                      .pages = item.pages,
                      .logits = !item.wants_logits     ? BatchItem::Logits::kNone
                                : item.num_drafts == 0 ? BatchItem::Logits::kLast
                                                       : BatchItem::Logits::kAll});
  }
  return parts_.forward->Run(batch_);
}

// Counts what has run. Requests are told of known tokens only; those of right drafts follow when they are known.
Engine::Worker::StepCounts Engine::Worker::Count(std::span<const PlanItem> plan) {
  StepCounts counts;
  for (const PlanItem& item : plan) {
    Request& request = *requests_.at(item.id);
    const int64_t rows = item.end - item.begin;
    // After the prompt the last token decodes, with a few that were given behind it; many at once are as a prompt's, or
    // recomputed.
    const bool decodes = rows <= kMostDecodeRows && item.begin >= request.prompt_tokens;
    (decodes ? counts.decode_rows : counts.prefill_rows) += rows;
    counts.drafts += item.num_drafts;
    counts.sequences += item.wants_logits;
    request.stats.drafts += item.num_drafts;
    CountKeys(request, item.begin, item.end);
  }
  counts.decode_rows += counts.drafts;
  const ForwardStats& work = parts_.forward->stats();
  ++totals_.steps;
  totals_.prefill_rows += counts.prefill_rows;
  totals_.decode_rows += counts.decode_rows;
  totals_.drafts += counts.drafts;
  totals_.queries += work.queries;
  totals_.selected_keys += work.selected_keys;
  totals_.visible_keys += work.visible_keys;
  return counts;
}

void Engine::Worker::CountKeys(Request& request, int64_t begin, int64_t end) {
  const ModelConfig& config = parts_.model->config();
  const bool sparse = parts_.attention == Attention::kDsa && config.has_indexer();
  const int64_t layers = config.num_hidden_layers;
  request.stats.queries += layers * (end - begin);
  request.stats.visible_keys += layers * KeysRead(begin, end, end);
  request.stats.selected_keys += layers * KeysRead(begin, end, sparse ? config.index_topk : end);
}

void Engine::Worker::CountTime(const StepCounts& counts, double seconds) {
  const double rows = static_cast<double>(counts.prefill_rows + counts.decode_rows);
  const double decode_s = seconds * static_cast<double>(counts.decode_rows) / rows;
  totals_.decode_s += decode_s;
  totals_.prefill_s += seconds - decode_s;
  if (counts.prefill_rows == 0) gate_.Report(counts.sequences, counts.drafts > 0, counts.sampled, seconds);
}

void Engine::Worker::Progress(std::span<const PlanItem> plan) {
  for (const PlanItem& item : plan) {
    const Request& request = *requests_.at(item.id);
    if (request.generated() > 0 || !request.sink.on_prefill) continue;
    request.sink.on_prefill(item.end, request.prompt_tokens);
  }
}

// The next token of a sequence, from the row of its last known one, and what the caller gives behind it. If that is
// what the drafts of the next rows guessed, the last of those rows has the logits of the token after it, and so on.
Engine::Worker::Taken Engine::Worker::TakeTokens(const PlanItem& item, TensorView<const float, 2> logits) {
  Request& request = *requests_.at(item.id);
  Taken taken;
  for (;;) {
    const Result<Sample> sample =
        sampler_.Draw(logits[taken.right], request.params, request.history, request.seed, request.generated());
    if (!sample) {
      End(request.id, FinishReason::kFailed,
          {sample.error().code, fmt::format("{}, after {} tokens", sample.error().message, request.tokens.size())});
      return taken;
    }
    ++taken.sampled;
    const Result<std::optional<FinishReason>> reason = Take(request, *sample);
    const int64_t known = std::ssize(request.tokens) - item.end;  // new ones
    int64_t right = taken.right;
    while (right < std::min(known, item.num_drafts) && request.drafts[right] == request.tokens[item.end + right])
      ++right;
    request.stats.accepted_drafts += right - taken.right;
    totals_.accepted_drafts += right - taken.right;
    if (!reason || *reason) {
      End(request.id, reason ? **reason : FinishReason::kFailed, reason ? Error() : reason.error());
      return taken;
    }
    // A cancelled request gets no further token, as if each had a step of its own.
    const bool again = right == known && !IsCancelled(request.id);
    if (!again) right = std::min(right, known - 1);
    CountKeys(request, item.end + taken.right, item.end + right);
    taken.right = right;
    if (again) continue;
    scheduler_.Append(request.id, known, right);
    return taken;
  }
}

// Returns why this was the last token, if it was. Errors: those of Follow.
Result<std::optional<FinishReason>> Engine::Worker::Take(Request& request, const Sample& sample) {
  if (request.generated() == 0) request.first_token = Request::Clock::now();
  request.tokens.push_back(sample.token);
  if (request.params.has_penalties()) request.history.AddOutput(sample.token);
  ++totals_.generated_tokens;
  const TokenEvent event = Describe(request, sample);
  if (request.sink.on_token) request.sink.on_token(event);
  if (!request.sink.follow) return event.ends;
  return Follow(request, request.sink.follow(event), event.ends);
}

// What the caller lets follow the last token, which alone would end the request for `reason`. Errors: kInvalidArgument
// for a token outside the vocabulary.
Result<std::optional<FinishReason>> Engine::Worker::Follow(Request& request, const Following& following,
                                                           std::optional<FinishReason> reason) {
  if (reason && *reason != FinishReason::kEos) return reason;
  if (following.end && !reason) reason = FinishReason::kStop;
  if (following.end || following.tokens.empty()) return reason;
  const int64_t room = request.params.max_tokens - request.generated();
  for (const TokenId token : following.tokens.first(std::min(following.tokens.size(), static_cast<size_t>(room)))) {
    if (const int64_t vocab = parts_.model->config().vocab_size; token < 0 || token >= vocab)
      return Fail(Code::kInvalidArgument, "a token to follow token {} is {}, the vocabulary has {}",
                  request.tokens.size() - 1, token, vocab);
    request.tokens.push_back(token);
    if (request.params.has_penalties()) request.history.AddGiven(token);
    request.stop.Skip(parts_.token_bytes ? parts_.token_bytes(token) : std::string_view());
    ++request.stats.given_tokens;
    ++totals_.given_tokens;
  }
  return request.generated() == request.params.max_tokens ? std::optional(FinishReason::kLength) : std::nullopt;
}

bool Engine::Worker::IsCancelled(RequestId id) const {
  std::lock_guard lock(mutex_);
  return std::ranges::find(cancels_, id) != cancels_.end();
}

// Guesses what follows, for the next step. Nothing is guessed that the request could not take any more.
void Engine::Worker::Draft(std::span<const PlanItem> plan, const StepCounts& counts) {
  const bool open = parts_.speculation == Speculation::kAlways || gate_.IsOpen(counts.sequences);
  drafter_->Begin();
  int64_t row = 0;
  for (size_t i = 0; i < plan.size(); ++i) {
    const PlanItem& item = plan[i];
    if (const auto found = requests_.find(item.id); found != requests_.end()) {
      Request& request = *found->second;
      const int64_t room = request.params.max_tokens - request.generated() - 1;
      // Rows of given tokens come first: without them nobody knows what follows.
      const bool decodes = item.wants_logits && item.begin + kept_rows_[i] + 1 == std::ssize(request.tokens);
      drafter_->Add({.request = request,
                     .pages = item.pages,
                     .pos = item.begin,
                     .count = kept_rows_[i],
                     .row = row,
                     .num_drafts = open && decodes ? std::min(parts_.draft_tokens, room) : 0});
    }
    row += item.end - item.begin + item.num_drafts;
  }
  drafter_->Run();
  for (const PlanItem& item : plan) {
    const auto found = requests_.find(item.id);
    if (found == requests_.end() || found->second->drafts.empty()) continue;
    scheduler_.Propose(item.id, std::ssize(found->second->drafts));
  }
}

// What the sink is told of the last token.
TokenEvent Engine::Worker::Describe(Request& request, const Sample& sample) const {
  const SamplingParams& params = request.params;
  TokenEvent event{.request = request.id,
                   .index = request.generated() - 1,
                   .token = sample.token,
                   .text = {},
                   .logprob = sample.logprob,
                   .top = sample.top,
                   .ends = {}};
  if (std::ranges::find(params.stop_token_ids, sample.token) != params.stop_token_ids.end()) {
    event.ends = FinishReason::kStop;
  } else if (!params.ignore_eos && IsEos(sample.token)) {
    event.ends = FinishReason::kEos;
  } else if (parts_.token_bytes) {
    event.text = request.stop.Push(parts_.token_bytes(sample.token));
    if (request.stop.matched()) event.ends = FinishReason::kStop;
  }
  if (!event.ends && request.generated() == params.max_tokens) event.ends = FinishReason::kLength;
  return event;
}

bool Engine::Worker::IsEos(TokenId token) const {
  const std::vector<TokenId>& eos = parts_.model->config().eos_token_ids;
  return std::ranges::find(eos, token) != eos.end();
}

void Engine::Worker::End(RequestId id, FinishReason reason, Error error) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  Request& request = *found->second;
  scheduler_.Remove(id);  // gives the pages back
  const Request::Clock::time_point now = Request::Clock::now(), never{};
  const Request::Clock::time_point started = request.started == never ? now : request.started;
  const Request::Clock::time_point first_token = request.first_token == never ? now : request.first_token;
  if (request.started != never) request.stats.experts = parts_.forward->expert_stats() - request.experts_before;
  request.stats.prompt_tokens = request.prompt_tokens;
  request.stats.generated_tokens = request.generated() - request.stats.given_tokens;
  request.stats.queue_s = Seconds(request.accepted, started);
  request.stats.prefill_s = Seconds(started, first_token);
  request.stats.decode_s = Seconds(first_token, now);
  ++(reason == FinishReason::kCancelled ? totals_.cancelled
     : reason == FinishReason::kFailed  ? totals_.failed
                                        : totals_.finished);
  ended_.push_back({std::move(found->second), reason, std::move(error)});
  requests_.erase(found);
}

void Engine::Worker::EndAll(FinishReason reason, const Error& error) {
  while (!requests_.empty()) End(requests_.begin()->first, reason, error);
}

void Engine::Worker::Publish() {
  totals_.pages_used = parts_.pages->used_pages();
  totals_.running = scheduler_.num_running();
  totals_.waiting = scheduler_.num_waiting();
  totals_.preemptions = scheduler_.num_preemptions();
  totals_.experts = parts_.forward->expert_stats();
  std::lock_guard lock(mutex_);
  const int64_t accepted = published_.accepted, prompt_tokens = published_.prompt_tokens;
  published_ = totals_;
  published_.accepted = accepted;
  published_.prompt_tokens = prompt_tokens;
}

void Engine::Worker::TellEndings() {
  for (Ended& ended : ended_) {
    Request& request = *ended.request;
    if (!request.sink.on_end) continue;
    const bool complete = ended.reason != FinishReason::kFailed && ended.reason != FinishReason::kCancelled;
    request.sink.on_end({.request = request.id,
                         .reason = ended.reason,
                         .error = std::move(ended.error),
                         .text = complete ? request.stop.Flush() : std::string_view(),
                         .stop = ended.reason == FinishReason::kStop ? request.stop.matched() : nullptr,
                         .seed = request.seed,
                         .stats = request.stats});
  }
  ended_.clear();
}

}  // namespace minke
