// Feed-forward blocks (docs/model.md: FFN, experts):
//   dense: y = W_down( silu(W_gate x) * (W_up x) )
//   MoE:   y = shared(x) + sum over the chosen experts, ascending, of weight_e * expert_e(x)
// Rows are grouped by expert, so an expert's weights are read once a batch; a row still adds its experts in
// ascending order after the shared one, whatever the batch.
#include <algorithm>
#include <cstring>

#include "minke/model/pass.h"
#include "minke/model/router.h"

namespace minke {
namespace {

void RunMlp(const Pass& pass, const MlpWeights& w, TensorView<const float, 2> x, TensorView<float, 2> y) {
  const int64_t n = x.dim(0), width = w.gate_proj.rows;
  const auto gate = pass.s.gate.Rows(0, n).Slice(0, width), up = pass.s.up.Rows(0, n).Slice(0, width);
  const Pass::Product products[] = {{w.gate_proj, gate}, {w.up_proj, up}};
  pass.Linear(x, products);
  pass.pool.ForRanges(n, std::max<int64_t>(1, (1 << 13) / width), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) pass.kernels.silu_mul(gate[r].data(), up[r].data(), width, gate[r].data());
  });
  pass.Linear(gate, w.down_proj, y);
}

void RouteRows(const Pass& pass, const LayerWeights& w) {
  Scratch& s = pass.s;
  const int64_t n = pass.num_rows;
  pass.Linear(s.x_norm.Rows(0, n), w.gate, s.router_scores.Rows(0, n));
  pass.pool.ForRanges(n, 8, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t r = begin; r < end; ++r)
      Route(pass.c, pass.kernels, s.router_scores[r], w.e_score_correction_bias, s.route_scratch[worker], s.experts[r],
            s.expert_weights[r]);
  });
}

// Counting sort: expert_rows[expert_begin[e] .. expert_begin[e + 1]) are the rows of expert e, ascending.
void GroupByExpert(const Pass& pass) {
  Scratch& s = pass.s;
  const int64_t n = pass.num_rows, k = pass.c.num_experts_per_tok;
  const auto expert_begin = s.expert_begin[0];
  std::ranges::fill(expert_begin, 0);
  for (int64_t r = 0; r < n; ++r)
    for (int32_t e : s.experts[r]) ++expert_begin[static_cast<size_t>(e) + 1];
  for (size_t e = 1; e < expert_begin.size(); ++e) expert_begin[e] += expert_begin[e - 1];
  for (int64_t r = n - 1; r >= 0; --r)
    for (int64_t slot = 0; slot < k; ++slot) {
      // Filling each group from its end leaves expert_begin[e + 1] at the group's start.
      const size_t at =
          static_cast<size_t>(--expert_begin[static_cast<size_t>(s.experts[r][static_cast<size_t>(slot)]) + 1]);
      s.expert_rows[at] = static_cast<int32_t>(r);
      s.expert_slots[at] = static_cast<int32_t>(slot);
    }
  for (size_t e = 0; e + 1 < expert_begin.size(); ++e) expert_begin[e] = expert_begin[e + 1];
  expert_begin.back() = static_cast<int32_t>(n * k);
}

void RunMoe(const Pass& pass, const LayerWeights& w, int64_t layer) {
  Scratch& s = pass.s;
  const int64_t n = pass.num_rows, d = pass.c.hidden_size;
  const auto x = s.x_norm.Rows(0, n), y = s.block_out.Rows(0, n);
  RouteRows(pass, w);
  if (pass.taps) {
    pass.taps->Ints("experts", layer, s.experts.Rows(0, n));
    pass.taps->Floats("expert_weights", layer, s.expert_weights.Rows(0, n));
  }
  if (pass.c.n_shared_experts > 0) {
    RunMlp(pass, w.shared_experts, x, y);
  } else {
    for (int64_t r = 0; r < n; ++r) std::ranges::fill(y[r], 0.0f);
  }
  GroupByExpert(pass);
  for (size_t e = 0; e < w.experts.size(); ++e) {
    const int64_t begin = s.expert_begin[0][e], count = s.expert_begin[0][e + 1] - begin;
    if (count == 0) continue;
    ++pass.stats.experts;
    const auto in = s.expert_in.Rows(0, count), out = s.expert_out.Rows(0, count);
    for (int64_t i = 0; i < count; ++i)
      std::memcpy(in[i].data(), x[s.expert_rows[static_cast<size_t>(begin + i)]].data(),
                  static_cast<size_t>(d) * sizeof(float));
    RunMlp(pass, w.experts[e], in, out);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = s.expert_rows[static_cast<size_t>(begin + i)];
      const float weight = s.expert_weights[row][static_cast<size_t>(s.expert_slots[static_cast<size_t>(begin + i)])];
      pass.kernels.axpy(weight, out[i].data(), d, y[row].data());
    }
  }
}

}  // namespace

void RunFfn(const Pass& pass, const LayerWeights& w, int64_t layer) {
  const int64_t n = pass.num_rows;
  if (pass.c.is_moe_layer[static_cast<size_t>(layer)]) {
    RunMoe(pass, w, layer);
  } else {
    RunMlp(pass, w.mlp, pass.s.x_norm.Rows(0, n), pass.s.block_out.Rows(0, n));
  }
}

}  // namespace minke
