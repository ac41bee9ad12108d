#include "minke/engine/engine.h"

#include <sys/random.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "minke/base/available_memory.h"
#include "minke/engine/page_pool.h"
#include "minke/engine/worker.h"

namespace minke {
namespace {

constexpr int kMostThreads = 1024;

Result<int64_t> ChooseContext(const EngineOptions& options) {
  const int64_t most = options.model->config().max_position_embeddings;
  const int64_t context = options.context == 0 ? most : options.context;
  if (context >= 2 && context <= most) return context;
  return Fail(Code::kInvalidArgument, "context is {}, the model allows 2 to {}", context, most);
}

// How many pages the cache gets: never more than all running sequences could fill, and what it takes together with
// the activations is there. Where experts share a limit with it, it gets a quarter of what is left, and up to half as
// far as one whole context needs that, or all of it where this context was asked for: every page that may never be used
// is an expert read once more.
Result<int64_t> ChoosePages(const EngineOptions& options, int64_t context, int64_t page_bytes, int64_t scratch_bytes) {
  const int64_t useful = options.max_sequences * PagePool::PagesFor(context);
  const Model& model = *options.model;
  int64_t available = AvailableMemoryBytes() - scratch_bytes;
  const int64_t whole = PagePool::PagesFor(context) * page_bytes;
  if (model.memory_bytes() > 0) {
    const int64_t left = model.memory_bytes() - model.resident_bytes() - model.least_expert_bytes() - scratch_bytes;
    const int64_t wanted = options.cache_bytes > 0 ? options.cache_bytes : whole;
    if (left < (options.cache_bytes > 0 ? options.cache_bytes : page_bytes))
      MINKE_TRY(model.ExpertBytes(scratch_bytes + wanted, 1, "give more, or a shorter --context"));
    available = std::min(available, left);
  }
  if (available <= 0 || options.cache_bytes > available) {
    return Fail(
        Code::kNoMemory,
        "activations take {} MiB and a cache of {} MiB was asked for, {} MiB of memory are available; lower the "
        "context or the batch",
        scratch_bytes >> 20, options.cache_bytes >> 20, AvailableMemoryBytes() >> 20);
  }
  int64_t share = available / 2;
  if (model.memory_bytes() > 0) {
    const int64_t most = options.context > 0 ? available : available / 2;
    share = std::max(std::clamp(whole, available / 4, most), std::min(page_bytes, available));
  }
  const int64_t bytes = options.cache_bytes > 0 ? options.cache_bytes : share;
  const int64_t pages = std::min(useful, bytes / page_bytes);
  if (pages >= 1) return pages;
  return Fail(Code::kNoMemory, "one cache page ({} tokens) takes {} bytes, the cache may have {} (available: {})",
              kPageTokens, page_bytes, bytes, available);
}

uint64_t FreshSeed() {
  uint64_t seed = 0;
  if (getrandom(&seed, sizeof seed, 0) == static_cast<ssize_t>(sizeof seed)) return seed;
  return static_cast<uint64_t>(Request::Clock::now().time_since_epoch().count());
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options) {
  if (!options.model) return Fail(Code::kInvalidArgument, "the engine needs a model");
  if (options.num_threads < 1 || options.num_threads > kMostThreads) {
    return Fail(Code::kInvalidArgument, "num_threads is {}, allowed is 1 to {}", options.num_threads, kMostThreads);
  }
  if (options.max_batch_tokens < 1 || options.max_batch_tokens > kMostBatchTokens) {
    return Fail(Code::kInvalidArgument, "max_batch_tokens is {}, allowed is 1 to {}", options.max_batch_tokens,
                kMostBatchTokens);
  }
  if (options.max_sequences < 1 || options.max_sequences > options.max_batch_tokens) {
    return Fail(Code::kInvalidArgument, "max_sequences is {}, allowed is 1 to max_batch_tokens ({})",
                options.max_sequences, options.max_batch_tokens);
  }
  if (options.prefill_chunk < 0 || options.cache_bytes < 0) {
    return Fail(Code::kInvalidArgument, "prefill_chunk ({}) and cache_bytes ({}) cannot be negative",
                options.prefill_chunk, options.cache_bytes);
  }
  if (options.draft_tokens < 1 || options.draft_tokens > kMaxDraftTokens) {
    return Fail(Code::kInvalidArgument, "draft_tokens is {}, allowed is 1 to {}", options.draft_tokens,
                kMaxDraftTokens);
  }
  if (options.speculation == Speculation::kAlways && !options.model->has_mtp()) {
    return Fail(Code::kInvalidArgument, "the model has no MTP layer, which speculative decoding needs");
  }

  Worker::Parts parts;
  parts.model = options.model;
  parts.kernels = options.kernels;
  parts.attention = options.attention;
  parts.speculation = options.model->has_mtp() ? options.speculation : Speculation::kOff;
  parts.draft_tokens = parts.speculation == Speculation::kOff ? 0 : options.draft_tokens;
  parts.token_bytes = options.token_bytes;
  if (!parts.kernels) {
    MINKE_ASSIGN(parts.kernels, ChooseKernelSet(""));
  }
  MINKE_ASSIGN(parts.context, ChooseContext(options));
  const CacheLayout layout = options.model->cache_layout(options.cache);
  const int64_t page_bytes = layout.page_floats() * static_cast<int64_t>(sizeof(float));
  ForwardOptions forward{.max_batch_tokens = options.max_batch_tokens,
                         .max_logit_rows = options.max_sequences * (1 + parts.draft_tokens),
                         .max_context = parts.context,
                         .attention = options.attention,
                         .mla_form = options.mla_form,
                         .cache = options.cache};
  const int64_t scratch_bytes = Forward::ScratchBytes(*options.model, options.num_threads, forward);
  MINKE_ASSIGN(const int64_t num_pages, ChoosePages(options, parts.context, page_bytes, scratch_bytes));
  MINKE_ASSIGN(forward.expert_bytes, options.model->ExpertBytes(scratch_bytes + num_pages * page_bytes));
  const PagePool::Fill fill = options.poison_cache ? PagePool::Fill::kPoison : PagePool::Fill::kNone;
  MINKE_ASSIGN(parts.pages, PagePool::Create(layout, num_pages, fill));
  MINKE_ASSIGN(parts.threads, ThreadPool::Create(options.num_threads));
  MINKE_ASSIGN(parts.forward, Forward::Create(*options.model, *parts.kernels, *parts.threads, forward));
  parts.scheduler = {.max_batch_tokens = options.max_batch_tokens,
                     .max_sequences = options.max_sequences,
                     .prefill_chunk = options.prefill_chunk > 0 ? options.prefill_chunk : options.max_batch_tokens};

  const Limits limits{.vocab_size = options.model->config().vocab_size,
                      .context = parts.context,
                      .num_pages = num_pages,
                      .has_text = static_cast<bool>(options.token_bytes)};
  try {
    return std::unique_ptr<Engine>(new Engine(limits, std::make_unique<Worker>(std::move(parts))));
  } catch (const std::system_error& e) {
    return Fail(Code::kNoMemory, "the engine's thread cannot be started: {}", e.what());
  }
}

Engine::Engine(const Limits& limits, std::unique_ptr<Worker> worker) : limits_(limits), worker_(std::move(worker)) {}

Engine::~Engine() = default;

int64_t Engine::MostTokens(int64_t prompt_tokens) const {
  return std::min(limits_.context, Scheduler::MostTokens(limits_.num_pages)) - prompt_tokens;
}

Result<RequestId> Engine::Submit(std::vector<TokenId> prompt, SamplingParams params, TokenSink sink) {
  const int64_t prompt_tokens = static_cast<int64_t>(prompt.size());
  if (prompt.empty()) return Fail(Code::kInvalidArgument, "the prompt is empty, it needs at least one token");
  for (int64_t i = 0; i < prompt_tokens; ++i) {
    if (prompt[i] >= 0 && prompt[i] < limits_.vocab_size) continue;
    return Fail(Code::kInvalidArgument, "prompt token {} is {}, the vocabulary has {}", i, prompt[i],
                limits_.vocab_size);
  }
  MINKE_TRY(Validate(params, limits_.vocab_size));
  // Compared by subtraction: max_tokens may be the largest number there is.
  if (params.max_tokens > limits_.context - prompt_tokens) {
    return Fail(Code::kInvalidArgument, "prompt ({} tokens) + max_tokens ({}) exceeds the context of {}", prompt_tokens,
                params.max_tokens, limits_.context);
  }
  if (!params.stop.empty() && !limits_.has_text) {
    return Fail(Code::kInvalidArgument, "stop strings need the bytes of tokens, and this engine was opened without");
  }
  MINKE_TRY(Scheduler::CheckFits(limits_.num_pages, prompt_tokens, params.max_tokens));

  auto request = std::make_unique<Request>();
  request->prompt_tokens = prompt_tokens;
  request->tokens = std::move(prompt);
  request->tokens.reserve(prompt_tokens + params.max_tokens);
  request->drafts.reserve(kMaxDraftTokens);
  request->seed = params.seed ? *params.seed : FreshSeed();
  if (params.has_penalties()) request->history = TokenHistory(request->tokens, params.max_tokens, limits_.vocab_size);
  request->stop = StopMatcher(params.stop, params.stop_after);
  request->params = std::move(params);
  request->sink = std::move(sink);
  return worker_->Post(std::move(request));
}

void Engine::Cancel(RequestId id) { worker_->Cancel(id); }

EngineStats Engine::stats() const { return worker_->stats(); }

}  // namespace minke
