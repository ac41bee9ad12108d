#include "minke/cli/score_text.h"

#include <algorithm>

#include "minke/base/file.h"
#include "minke/text/tokenizer.h"

namespace minke {
namespace {

constexpr int64_t kMaxTextBytes = int64_t{1} << 30;
constexpr int64_t kWindowsAtOnce = 8;

}  // namespace

Result<Perplexity> MeasurePerplexity(const OpenedModel& opened, const KernelSet& kernels, ThreadPool& pool,
                                     const std::string& path, int64_t window, const ScoreRunOptions& options,
                                     Progress& progress) {
  const ModelConfig& config = opened.model->config();
  MINKE_ASSIGN(const std::string text, ReadFile(path, kMaxTextBytes));
  MINKE_ASSIGN(const auto tokenizer, Tokenizer::Open(opened.path.folder));
  const std::vector<TokenId> ids = tokenizer->Encode(text);
  if (ids.size() < 2) {
    return Fail(Code::kInvalidArgument, "{}: {} tokens: perplexity needs at least two", path, ids.size());
  }
  for (const TokenId id : ids) {
    if (id >= config.vocab_size) {
      return Fail(Code::kDamaged,
                  "{}: tokenizer.json gives id {}, but the model has {} rows: they do not belong together",
                  opened.path.folder, id, config.vocab_size);
    }
  }
  std::vector<std::span<const TokenId>> windows;
  for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(window)) {
    windows.push_back(std::span(ids).subspan(begin, std::min(static_cast<size_t>(window), ids.size() - begin)));
  }

  Perplexity result;
  result.tokens = static_cast<int64_t>(ids.size());
  const int64_t at_once = std::min<int64_t>(kWindowsAtOnce, static_cast<int64_t>(windows.size()));
  const std::vector<int64_t> lengths(static_cast<size_t>(at_once), static_cast<int64_t>(windows[0].size()));
  MINKE_ASSIGN(const auto runner, ScoreRunner::Create(*opened.model, kernels, pool, lengths, options));
  const double start = MonotonicSeconds();
  int64_t done = 0;
  for (size_t first = 0; first < windows.size(); first += static_cast<size_t>(at_once)) {
    const auto batch =
        std::span(windows).subspan(first, std::min(static_cast<size_t>(at_once), windows.size() - first));
    MINKE_TRY(
        runner->Run(batch, nullptr, [&](std::span<const RecordRows> rows, TensorView<const float, 2> logits) -> Status {
          int64_t row = 0;
          for (const RecordRows& part : rows) {
            const auto tokens = batch[part.prompt];
            for (int64_t i = 0; i < part.count; ++i, ++row) {
              const size_t next = static_cast<size_t>(part.first_pos + i) + 1;
              if (next >= tokens.size()) continue;
              const auto scores = logits[row];
              // -log softmax(logits)[next token], summed in double.
              result.nll_sum += double{kernels.log_sum_exp(scores.data(), config.vocab_size)} -
                                double{scores[static_cast<size_t>(tokens[next])]};
              ++result.scored;
            }
          }
          done += row;
          progress.Update(static_cast<double>(done), static_cast<double>(result.tokens));
          return {};
        }));
  }
  result.seconds = MonotonicSeconds() - start;
  return result;
}

}  // namespace minke
