#include "minke/cli/score_run.h"

#include <algorithm>

#include "minke/cli/model_flags.h"

namespace minke {
namespace {

// Rows of one step when nothing else is asked for: whole prompts up to here, but logits of at most 256 MiB.
int64_t MostRows(const ModelConfig& config) {
  return std::clamp<int64_t>((int64_t{1} << 26) / std::max<int64_t>(config.vocab_size, 1), 64, 4096);
}

}  // namespace

Result<std::unique_ptr<ScoreRunner>> ScoreRunner::Create(const Model& model, const KernelSet& kernels, ThreadPool& pool,
                                                         std::span<const int64_t> lengths,
                                                         const ScoreRunOptions& options) {
  const ModelConfig& config = model.config();
  const int64_t num_prompts = static_cast<int64_t>(lengths.size()), longest_prompt = std::ranges::max(lengths);
  if (longest_prompt > config.max_position_embeddings) {
    return Fail(Code::kInvalidArgument, "prompt of {} tokens exceeds the model's context of {}", longest_prompt,
                config.max_position_embeddings);
  }
  const int64_t fair = std::max<int64_t>(1, MostRows(config) / num_prompts);
  int64_t chunk = std::min(longest_prompt, options.chunk > 0 ? options.chunk : fair);
  int64_t num_pages = 0;
  for (const int64_t length : lengths) num_pages += PagePool::PagesFor(length);
  ForwardOptions forward;
  const auto set_chunk = [&](int64_t tokens) {
    chunk = tokens;
    forward.max_batch_tokens = forward.max_logit_rows = num_prompts * chunk;
  };
  set_chunk(chunk);
  forward.max_context = longest_prompt;
  forward.attention = options.attention;
  forward.mla_form = options.mla_form;
  forward.cache = options.cache;
  const CacheLayout layout = model.cache_layout(options.cache);
  const double cache_bytes = static_cast<double>(num_pages) * static_cast<double>(layout.page_floats()) * sizeof(float);
  const auto scratch_bytes = [&] { return Forward::ScratchBytes(model, pool.num_threads(), forward); };
  if (model.memory_bytes() > 0) {
    // Activations beside experts: smaller steps, and the memory for more experts. What is too little for the smallest
    // step is refused with what that one needs.
    const int64_t left =
        model.memory_bytes() - model.resident_bytes() - model.least_expert_bytes() - static_cast<int64_t>(cache_bytes);
    while (options.chunk == 0 && chunk > 1 && scratch_bytes() > left / 4) set_chunk(chunk / 2);
    MINKE_ASSIGN(forward.expert_bytes, model.ExpertBytes(static_cast<int64_t>(cache_bytes) + scratch_bytes()));
  }
  auto runner = std::unique_ptr<ScoreRunner>(new ScoreRunner(model, options, chunk));
  MINKE_TRY(CheckMemory(
      cache_bytes + static_cast<double>(scratch_bytes()),
      fmt::format("a cache for {} prompts of up to {} tokens, with the activations,", num_prompts, longest_prompt)));
  MINKE_ASSIGN(runner->pages_, PagePool::Create(layout, num_pages));
  MINKE_ASSIGN(runner->forward_, Forward::Create(model, kernels, pool, forward));
  return runner;
}

Status ScoreRunner::Run(std::span<const std::span<const TokenId>> prompts, ScoreRecord* record, const StepFn& step) {
  std::vector<PageTable> tables;
  for (const auto prompt : prompts) {
    const int64_t num_pages = PagePool::PagesFor(static_cast<int64_t>(prompt.size()));
    MINKE_TRY(tables.emplace_back(*pages_, num_pages).Grow(num_pages));
  }
  TapSink* taps = options_.taps ? record : nullptr;
  for (int64_t begin = 0;; begin += chunk_) {
    std::vector<RecordRows> rows;
    std::vector<BatchItem> items;
    for (size_t p = 0; p < prompts.size(); ++p) {
      const int64_t left = static_cast<int64_t>(prompts[p].size()) - begin;
      if (left <= 0) continue;
      rows.push_back({p, begin, std::min(chunk_, left)});
      items.push_back({prompts[p].subspan(static_cast<size_t>(begin), static_cast<size_t>(rows.back().count)), begin,
                       tables[p].pages(), BatchItem::Logits::kAll});
    }
    if (rows.empty()) return {};
    if (record) record->Begin(rows, /*mtp=*/false);
    const auto logits = forward_->Run(items, taps);
    MINKE_TRY(model_.Health());
    MINKE_TRY(step(rows, logits));
    if (taps && model_.has_mtp()) {
      RunMtp(prompts, rows, tables, *record);
      MINKE_TRY(model_.Health());
    }
  }
}

// The MTP layer at position p reads the main hidden state of p and the token at p + 1, so the last position has none.
void ScoreRunner::RunMtp(std::span<const std::span<const TokenId>> prompts, std::span<const RecordRows> rows,
                         std::span<const PageTable> tables, ScoreRecord& record) {
  std::vector<int32_t> kept;  // rows that have a next token
  std::vector<RecordRows> mtp_rows;
  std::vector<BatchItem> items;
  int64_t row = 0;
  for (const RecordRows& part : rows) {
    const auto prompt = prompts[part.prompt];
    const int64_t count = std::min(part.count, static_cast<int64_t>(prompt.size()) - 1 - part.first_pos);
    for (int64_t i = 0; i < count; ++i) kept.push_back(static_cast<int32_t>(row + i));
    row += part.count;
    if (count <= 0) continue;
    mtp_rows.push_back({part.prompt, part.first_pos, count});
    items.push_back({prompt.subspan(static_cast<size_t>(part.first_pos) + 1, static_cast<size_t>(count)),
                     part.first_pos, tables[part.prompt].pages(), BatchItem::Logits::kAll});
  }
  if (items.empty()) return;
  record.Begin(mtp_rows, /*mtp=*/true);
  record.Logits(forward_->RunMtp(items, forward_->hidden(), kept, &record));
}

}  // namespace minke
