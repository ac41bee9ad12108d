#include "minke/cli/score_text.h"

#include <algorithm>

#include "minke/base/file.h"
#include "minke/cli/model_text.h"

namespace minke {
namespace {

constexpr int64_t kMaxTextBytes = int64_t{1} << 30;
constexpr int64_t kWindowsAtOnce = 8;

}  // namespace

double Perplexity::error() const {
  if (scored < 2) return 0;
  const double n = static_cast<double>(scored), mean = mean_nll();
  return value() * std::sqrt(std::max(0.0, nll_squares / n - mean * mean) / (n - 1));
}

Result<std::vector<TokenId>> EncodeText(const OpenedModel& opened, const std::string& path) {
  const ModelConfig& config = opened.model->config();
  MINKE_ASSIGN(const std::string text, ReadFile(path, kMaxTextBytes));
  MINKE_ASSIGN(const auto tokenizer, OpenTokenizer(opened.path));
  std::vector<TokenId> ids = tokenizer->Encode(text);
  if (ids.size() < 2) {
    return Fail(Code::kInvalidArgument, "{}: {} tokens: perplexity needs at least two", path, ids.size());
  }
  for (const TokenId id : ids) {
    if (id >= config.vocab_size) {
      return Fail(Code::kDamaged,
                  "{}: the tokenizer gives id {}, but the model has {} rows: they do not belong together",
                  opened.path.path, id, config.vocab_size);
    }
  }
  return ids;
}

Result<Perplexity> MeasurePerplexity(const OpenedModel& opened, const KernelSet& kernels, ThreadPool& pool,
                                     std::span<const TokenId> ids, const TextWindows& cut,
                                     const ScoreRunOptions& options, Progress& progress, const ScoredRowFn& each_row) {
  const ModelConfig& config = opened.model->config();
  const size_t window = static_cast<size_t>(cut.window);
  const size_t stride = cut.stride > 0 ? static_cast<size_t>(cut.stride) : window;
  std::vector<std::span<const TokenId>> windows;
  for (size_t begin = 0; begin < ids.size(); begin += stride) {
    windows.push_back(ids.subspan(begin, std::min(window, ids.size() - begin)));
    if (stride < window && begin + window >= ids.size()) break;  // what is left was in this one
  }
  // The first token of a window that was in no earlier one.
  const auto first_new = [&](size_t index) { return index == 0 ? size_t{0} : window - stride; };

  Perplexity result;
  for (const auto& tokens : windows) result.tokens += static_cast<int64_t>(tokens.size());
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
              if (next >= tokens.size() || next < first_new(first + part.prompt)) continue;
              const auto scores = logits[row];
              // -log softmax(logits)[next token], summed in double.
              const double nll = double{kernels.log_sum_exp(scores.data(), config.vocab_size)} -
                                 double{scores[static_cast<size_t>(tokens[next])]};
              result.nll_sum += nll;
              result.nll_squares += nll * nll;
              ++result.scored;
              if (!each_row) continue;
              if (Status status = each_row(scores); !status) return status;
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
