// The feed-forward blocks, backwards (docs/training.md: SwiGLU, router, sequence balance). The rows of an expert are
// those of the forward pass, and experts add to their rows in ascending order as there.
#include <algorithm>
#include <cstring>
#include <vector>

#include "minke/model/backward.h"

namespace minke {
namespace {

// Of an MLP on x [rows, D] whose gate and up are kept from row `first` on. `scale` [rows]: what each row's output was
// multiplied by, or empty; then d_scale [rows] receives the gradient of that factor.
void MlpBackward(const BackwardPass& back, const MlpWeights& w, TensorView<const float, 2> x, int64_t first,
                 TensorView<const float, 2> dy, std::span<const float> scale, std::span<float> d_scale,
                 TensorView<float, 2> dx) {
  const Pass& pass = back.pass;
  const int64_t n = x.dim(0), width = w.gate_proj.rows;
  BackwardScratch& b = back.b;
  const auto gate = pass.s.gate.Rows(first, first + n).Slice(0, width);
  const auto up = pass.s.up.Rows(first, first + n).Slice(0, width);
  const auto d_h = b.d_h.Rows(0, n).Slice(0, width), h = b.h.Rows(0, n).Slice(0, width);
  const auto d_gate = b.d_gate.Rows(0, n).Slice(0, width), d_up = b.d_up.Rows(0, n).Slice(0, width);
  Zero(d_h);
  back.LinearInput(w.down_proj, dy, d_h);
  pass.pool.ForRanges(n, std::max<int64_t>(1, (1 << 12) / width), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      pass.kernels.silu_mul_grad(gate[r].data(), up[r].data(), d_h[r].data(), width, d_gate[r].data(), d_up[r].data(),
                                 h[r].data());
      if (scale.empty()) continue;
      const float factor = scale[static_cast<size_t>(r)];
      double dot = 0;
      for (size_t i = 0; i < d_h[r].size(); ++i) dot += static_cast<double>(d_h[r][i]) * h[r][i];
      d_scale[static_cast<size_t>(r)] = static_cast<float>(dot);
      for (const auto& row : {d_gate[r], d_up[r], h[r]})
        for (float& value : row) value *= factor;
    }
  });
  back.LinearWeight(h, w.down_proj, dy);
  back.Linear(x, w.gate_proj, d_gate, dx);
  back.Linear(x, w.up_proj, d_up, dx);
}

// The sequence-wise balance loss of rows [begin, end), one sequence (V3 report 2.1.2): sum_e f_e P_e with f counted by
// the scores alone. Adds to d_scores; returns the loss.
double Balance(const BackwardPass& back, int64_t begin, int64_t end) {
  const Pass& pass = back.pass;
  const ModelConfig& c = pass.c;
  const int64_t e_count = c.n_routed_experts, k = c.num_experts_per_tok;
  const double rows = static_cast<double>(end - begin);
  const auto f = back.b.balance_f;
  std::ranges::fill(f, 0.0f);
  std::vector<int32_t> chosen(static_cast<size_t>(k));
  for (int64_t r = begin; r < end; ++r) {
    const int64_t count = pass.kernels.top_k(pass.s.router_scores[r].data(), e_count, k, chosen.data());
    for (int64_t i = 0; i < count; ++i) f[static_cast<size_t>(chosen[static_cast<size_t>(i)])] += 1;
  }
  for (float& value : f) value *= static_cast<float>(static_cast<double>(e_count) / (static_cast<double>(k) * rows));
  double loss = 0;
  for (int64_t r = begin; r < end; ++r) {
    const auto scores = pass.s.router_scores[r];
    double sum = 0, mean = 0;
    for (const float s : scores) sum += s;
    for (size_t e = 0; e < scores.size(); ++e) mean += f[e] * scores[e] / sum;
    loss += mean / rows;
    // The mean over tokens of all sequences: a sequence weighs as much as it has tokens.
    const double factor = back.options.balance_weight / (static_cast<double>(pass.num_rows) * sum);
    for (size_t e = 0; e < scores.size(); ++e) back.b.d_router[r][e] += static_cast<float>(factor * (f[e] - mean));
  }
  return loss * rows / static_cast<double>(pass.num_rows);
}

// From the experts' weights to the router's.
void RouterBackward(const BackwardPass& back, const LayerWeights& w, TensorView<const float, 2> x,
                    TensorView<float, 2> dx) {
  const Pass& pass = back.pass;
  const ModelConfig& c = pass.c;
  const Scratch& s = pass.s;
  const int64_t n = pass.num_rows;
  const auto d_scores = back.b.d_router.Rows(0, n);
  Zero(d_scores);
  for (int64_t r = 0; r < n; ++r) {
    const auto experts = s.experts[r];
    const auto weights = s.expert_weights[r], d_weights = back.b.d_expert_weights[r];
    // g_e = scale s_e / sum: ds_e = (scale dg_e - sum_j g_j dg_j) / sum
    double sum = 0, dot = 0;
    for (size_t i = 0; i < experts.size(); ++i) {
      sum += s.router_scores[r][static_cast<size_t>(experts[i])];
      dot += static_cast<double>(weights[i]) * d_weights[i];
    }
    for (size_t i = 0; i < experts.size(); ++i) {
      const double d = static_cast<double>(c.routed_scaling_factor) * d_weights[i];
      d_scores[r][static_cast<size_t>(experts[i])] =
          static_cast<float>(c.norm_topk_prob ? (d - dot) / (sum + 1e-20) : d);
    }
  }
  if (back.options.balance_weight > 0) {
    for (int64_t begin = 0, end; begin < n; begin = end) {
      for (end = begin + 1; end < n && s.pos[static_cast<size_t>(end)] != 0;) ++end;
      back.losses.balance += Balance(back, begin, end);
    }
  }
  for (int64_t r = 0; r < n; ++r) {
    const auto scores = s.router_scores[r];
    double dot = 0;
    if (c.scoring_func == RouterScore::kSoftmax)
      for (size_t e = 0; e < scores.size(); ++e) dot += static_cast<double>(d_scores[r][e]) * scores[e];
    for (size_t e = 0; e < scores.size(); ++e)
      d_scores[r][e] = c.scoring_func == RouterScore::kSigmoid ? d_scores[r][e] * scores[e] * (1 - scores[e])
                                                               : scores[e] * static_cast<float>(d_scores[r][e] - dot);
  }
  back.Linear(x, w.gate, d_scores, dx);
}

void MoeBackward(const BackwardPass& back, const LayerWeights& w, TensorView<const float, 2> x,
                 TensorView<const float, 2> dy, TensorView<float, 2> dx) {
  const Pass& pass = back.pass;
  const Scratch& s = pass.s;
  BackwardScratch& b = back.b;
  const int64_t n = pass.num_rows;
  const size_t bytes = static_cast<size_t>(pass.c.hidden_size) * sizeof(float);
  if (pass.c.n_shared_experts > 0) MlpBackward(back, w.shared_experts, x, 0, dy, {}, {}, dx);
  std::vector<float> weights, d_weights;
  for (size_t e = 0; e < w.experts.size(); ++e) {
    const int64_t begin = s.expert_begin[0][e], count = s.expert_begin[0][e + 1] - begin;
    if (count == 0) continue;
    const auto rows = s.expert_rows.subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
    const auto slots = s.expert_slots.subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
    const auto expert_x = b.expert_x.Rows(0, count), expert_dy = b.expert_dy.Rows(0, count);
    const auto expert_dx = b.expert_dx.Rows(0, count);
    weights.resize(static_cast<size_t>(count));
    d_weights.resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<size_t>(i);
      std::memcpy(expert_x[i].data(), x[rows[at]].data(), bytes);
      std::memcpy(expert_dy[i].data(), dy[rows[at]].data(), bytes);
      weights[at] = s.expert_weights[rows[at]][static_cast<size_t>(slots[at])];
    }
    Zero(expert_dx);
    MlpBackward(back, w.experts[e], expert_x, n + begin, expert_dy, weights, d_weights, expert_dx);
    for (int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<size_t>(i);
      pass.kernels.axpy(1.0f, expert_dx[i].data(), pass.c.hidden_size, dx[rows[at]].data());
      b.d_expert_weights[rows[at]][static_cast<size_t>(slots[at])] = d_weights[at];
    }
  }
  RouterBackward(back, w, x, dx);
}

}  // namespace

void FfnBackward(const BackwardPass& back, const LayerWeights& w, int64_t layer, TensorView<const float, 2> x_norm,
                 TensorView<const float, 2> dy, TensorView<float, 2> dx) {
  if (back.pass.c.is_moe_layer[static_cast<size_t>(layer)]) {
    MoeBackward(back, w, x_norm, dy, dx);
  } else {
    MlpBackward(back, w.mlp, x_norm, 0, dy, {}, {}, dx);
  }
}

}  // namespace minke
