#include "minke/cli/lab_probe.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "minke/kernels/kernel_set.h"
#include "minke/train/loss.h"
#include "minke/train/make_data.h"

namespace minke {
namespace {

std::vector<TokenId> TargetsOf(const Document& document) {
  std::vector<TokenId> targets(document.tokens.size(), kNoTarget);
  for (size_t i = 0; i + 1 < document.tokens.size(); ++i)
    if (document.loss[i + 1]) targets[i] = document.tokens[i + 1];
  return targets;
}

// Sums of shares over queries.
struct Shares {
  double mass = 0, topk = 0, random = 0;
  int64_t queries = 0;

  void Add(double of_mass, double of_topk, double of_random) {
    mass += of_mass, topk += of_topk, random += of_random, ++queries;
  }
  Json ToJson() const {
    const double count = static_cast<double>(std::max<int64_t>(queries, 1));
    return {{"mass", mass / count}, {"topk", topk / count}, {"random", random / count}, {"queries", queries}};
  }
};

// k positions of 0..pos, ascending, `pos` among them.
std::vector<int32_t> RandomPositions(int64_t pos, int64_t k, Draws& draws) {
  std::vector<int32_t> all(static_cast<size_t>(pos));
  std::iota(all.begin(), all.end(), 0);
  for (size_t i = 0; i + 1 < static_cast<size_t>(k); ++i)
    std::swap(all[i], all[i + static_cast<size_t>(draws.Below(static_cast<int>(all.size() - i)))]);
  all.resize(static_cast<size_t>(k - 1));
  std::ranges::sort(all);
  all.push_back(static_cast<int32_t>(pos));
  return all;
}

Replay Selected(const ModelConfig& config, int64_t tokens, LabSelection selection, Draws& draws) {
  const int64_t k = config.index_topk;
  Replay replay;
  replay.topk.resize(static_cast<size_t>(config.num_hidden_layers * tokens * k));
  replay.num_selected.resize(static_cast<size_t>(config.num_hidden_layers * tokens));
  for (int64_t i = 0; i < config.num_hidden_layers * tokens; ++i) {
    const int64_t pos = i % tokens;
    int32_t* topk = replay.topk.data() + i * k;
    const int64_t count = std::min(pos + 1, k);
    replay.num_selected[static_cast<size_t>(i)] = static_cast<int32_t>(count);
    if (selection == LabSelection::kRandom && count == k)
      std::ranges::copy(RandomPositions(pos, k, draws), topk);
    else
      std::iota(topk, topk + count, static_cast<int32_t>(pos + 1 - count));
  }
  return replay;
}

}  // namespace

Result<std::unique_ptr<LabProbe>> LabProbe::Open(const std::string& model, const std::string& isa, int threads) {
  std::unique_ptr<LabProbe> probe(new LabProbe);
  MINKE_ASSIGN(probe->kernels_, ChooseKernelSet(isa));
  MINKE_ASSIGN(probe->subject_, OpenSubject(model, [](const std::string&) {}));
  MINKE_ASSIGN(probe->pool_, ThreadPool::Create(threads));
  MINKE_ASSIGN(const auto weights, Model::Open(probe->subject_.path.path));
  MINKE_ASSIGN(probe->parameters_, Parameters::Copy(*weights, *probe->kernels_, Parameters::MtpCopies::kShared));
  return probe;
}

Result<std::vector<Document>> LabProbe::HeldOut(const Task& task, uint64_t seed, int64_t count) const {
  MINKE_ASSIGN(const DocumentEncoder encoder, DocumentEncoder::Create(*subject_.tokenizer, subject_.choice, {}));
  std::vector<Document> documents;
  for (int64_t i = 0; i < count; ++i) {
    const std::string text =
        DemonstrationLine(task, seed, static_cast<uint64_t>(i), Split::kHeldOut, Searcher::kRandom);
    MINKE_ASSIGN(const DataLine line, DataLine::Parse(text));
    MINKE_ASSIGN(Document document, encoder.Encode(line));
    documents.push_back(std::move(document));
  }
  return documents;
}

Result<std::unique_ptr<Learner>> LabProbe::MakeLearner(std::span<const Document> documents, Attention attention) const {
  int64_t longest = 2;
  for (const Document& document : documents) longest = std::max(longest, std::ssize(document.tokens));
  return Learner::Create(*parameters_, *kernels_, *pool_,
                         {.max_tokens = longest, .max_sequences = 1, .max_context = longest, .attention = attention});
}

Result<double> LabProbe::Loss(std::span<const Document> documents, Attention attention) const {
  MINKE_ASSIGN(const auto learner, MakeLearner(documents, attention));
  double sum = 0;
  int64_t count = 0;
  for (const Document& document : documents) {
    const LearnerItem item{document.tokens};
    const std::vector<TokenId> targets = TargetsOf(document);
    std::vector<float> weights(targets.size(), 1);
    sum += CrossEntropy(*kernels_, *pool_, learner->Forward({&item, 1}), targets, weights);
    count += std::ssize(targets) - std::ranges::count(targets, kNoTarget);
  }
  return sum / static_cast<double>(std::max<int64_t>(count, 1));
}

Result<Json> LabProbe::Recall(std::span<const Document> documents) const {
  const int64_t layers = config().num_hidden_layers, k = config().index_topk;
  MINKE_ASSIGN(const auto dense, MakeLearner(documents, Attention::kDense));
  MINKE_ASSIGN(const auto sparse, MakeLearner(documents, Attention::kDsa));
  std::vector<Shares> by_layer(static_cast<size_t>(layers));
  std::map<int64_t, Shares> by_position;  // from a power of two
  for (const Document& document : documents) {
    const LearnerItem item{document.tokens};
    const int64_t tokens = std::ssize(document.tokens);
    std::vector<std::vector<float>> attention(static_cast<size_t>(layers * tokens));
    dense->Forward({&item, 1}, /*head=*/false);
    dense->Backward({.model = false,
                     .indexer_weight = 1,
                     .on_attention = [&](int64_t layer, int64_t row, std::span<const float> p) {
                       attention[static_cast<size_t>(layer * tokens + row)].assign(p.begin(), p.end());
                     }});
    sparse->Forward({&item, 1}, /*head=*/false);
    const Replay choice = sparse->Choices()[0];
    for (int64_t i = 0; i < layers * tokens; ++i) {
      const std::vector<float>& p = attention[static_cast<size_t>(i)];
      if (std::ssize(p) <= k || choice.num_selected[static_cast<size_t>(i)] != k) continue;
      std::vector<float> sorted = p;
      std::ranges::nth_element(sorted, sorted.begin() + k - 1, std::greater<>());
      const float least = sorted[static_cast<size_t>(k - 1)];
      double mass = 0, hits = 0;
      for (int64_t j = 0; j < k; ++j) {
        const float weight = p[static_cast<size_t>(choice.topk[static_cast<size_t>(i * k + j)])];
        mass += static_cast<double>(weight), hits += weight >= least;
      }
      const double chance = static_cast<double>(k) / static_cast<double>(p.size());
      int64_t from = 1;
      while (2 * from < std::ssize(p)) from *= 2;
      for (Shares* shares : {&by_layer[static_cast<size_t>(i / tokens)], &by_position[from]})
        shares->Add(mass, hits / static_cast<double>(k), chance);
    }
  }
  Json layer_list = Json::array(), position_list = Json::array();
  for (const Shares& shares : by_layer) layer_list.push_back(shares.ToJson());
  for (const auto& [from, shares] : by_position) {
    position_list.push_back(shares.ToJson());
    position_list.back()["from"] = from;
  }
  return Json{{"by_layer", layer_list}, {"by_position", position_list}};
}

Result<double> LabProbe::Exact(std::span<const Document> documents, LabSelection selection, uint64_t seed) const {
  const bool dense = selection == LabSelection::kDense, own = dense || selection == LabSelection::kIndexer;
  MINKE_ASSIGN(const auto learner, MakeLearner(documents, dense ? Attention::kDense : Attention::kDsa));
  int64_t exact = 0;
  for (size_t d = 0; d < documents.size(); ++d) {
    const Document& document = documents[d];
    Draws draws(seed, d);
    const Replay replay = own ? Replay{} : Selected(config(), std::ssize(document.tokens), selection, draws);
    const LearnerItem item{document.tokens, own ? nullptr : &replay};
    const auto logits = learner->Forward({&item, 1});
    const std::vector<TokenId> targets = TargetsOf(document);
    bool right = true;
    for (size_t i = 0; i < targets.size() && right; ++i) {
      const auto row = logits[static_cast<int64_t>(i)];
      if (targets[i] != kNoTarget) right = std::ranges::max_element(row) - row.begin() == targets[i];
    }
    exact += right;
  }
  return static_cast<double>(exact) / static_cast<double>(std::max<size_t>(documents.size(), 1));
}

Result<std::vector<float>> LabProbe::LastLogits(const Document& document) const {
  MINKE_ASSIGN(const auto learner, MakeLearner({&document, 1}, Attention::kDsa));
  const LearnerItem item{document.tokens};
  const auto row = learner->Forward({&item, 1})[std::ssize(document.tokens) - 1];
  return std::vector<float>(row.begin(), row.end());
}

}  // namespace minke
