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

// `first`: where gate and up of the rows stay, if they are kept.
void RunMlp(const Pass& pass, const MlpWeights& w, TensorView<const float, 2> x, TensorView<float, 2> y,
            int64_t first = 0) {
  const Scratch& s = pass.s;
  const int64_t n = x.dim(0), width = w.gate_proj.rows;
  const auto gate = s.gate.Rows(first, first + n).Slice(0, width), up = s.up.Rows(first, first + n).Slice(0, width);
  const auto activated = s.keeps ? s.activated.Rows(0, n).Slice(0, width) : gate;
  const Pass::Product products[] = {{w.gate_proj, gate}, {w.up_proj, up}};
  pass.Linear(x, products);
  pass.pool.ForRanges(n, std::max<int64_t>(1, (1 << 13) / width), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      pass.kernels.silu_mul(gate[r].data(), up[r].data(), width, activated[r].data());
  });
  pass.Linear(activated, w.down_proj, y);
}

// Writes the experts that `x` [rows, D] goes to.
void RouteRows(const Pass& pass, const LayerWeights& w, TensorView<const float, 2> x, TensorView<int32_t, 2> experts,
               TensorView<float, 2> weights) {
  Scratch& s = pass.s;
  const int64_t n = pass.num_rows;
  pass.Linear(x, w.gate, s.router_scores.Rows(0, n));
  pass.pool.ForRanges(n, 8, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t r = begin; r < end; ++r) {
      if (pass.given_experts) {
        ScoreExperts(pass.c, pass.kernels, s.router_scores[r]);
        WeighExperts(pass.c, s.router_scores[r], experts[r], weights[r]);
        continue;
      }
      Route(pass.c, pass.kernels, s.router_scores[r], w.e_score_correction_bias, s.route_scratch[worker], experts[r],
            weights[r]);
    }
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

// The rows of one expert: where they start in expert_rows, and how many there are.
struct ExpertRows {
  int64_t begin = 0, count = 0;
};
ExpertRows RowsOf(const Scratch& s, size_t e) {
  return {s.expert_begin[0][e], s.expert_begin[0][e + 1] - s.expert_begin[0][e]};
}

// `first`: where its rows lie in expert_in, and in gate and up if those are not kept.
void RunExpert(const Pass& pass, const MlpWeights& w, ExpertRows rows, int64_t first, TensorView<float, 2> out) {
  Scratch& s = pass.s;
  const auto in = s.expert_in.Rows(first, first + rows.count);
  for (int64_t i = 0; i < rows.count; ++i)
    std::memcpy(in[i].data(), s.x_norm[s.expert_rows[static_cast<size_t>(rows.begin + i)]].data(),
                static_cast<size_t>(pass.c.hidden_size) * sizeof(float));
  RunMlp(pass, w, in, out, s.keeps ? pass.num_rows + rows.begin : first);
}

void AddExpert(const Pass& pass, ExpertRows rows, TensorView<const float, 2> out) {
  Scratch& s = pass.s;
  for (int64_t i = 0; i < rows.count; ++i) {
    const auto at = static_cast<size_t>(rows.begin + i);
    const int64_t row = s.expert_rows[at];
    const float weight = s.expert_weights[row][static_cast<size_t>(s.expert_slots[at])];
    pass.kernels.axpy(weight, out[i].data(), pass.c.hidden_size, s.block_out[row].data());
  }
}

// Does each thread take whole experts? They meet once then, not three times an expert, which made a batch of 64 of a
// model of 15 million parameters 2 % faster on two threads, and one token of 1.6 billion 3 %. But all must be busy: an
// expert has no more rows than a thread's share, and there are as many for each thread, or about as many.
bool RunsExpertsApart(const Pass& pass, std::span<const int32_t> experts) {
  const Scratch& s = pass.s;
  const int64_t threads = pass.pool.num_threads(), rows = pass.num_rows * pass.c.num_experts_per_tok;
  if (threads == 1 || s.keeps || rows > s.expert_in.dim(0)) return false;
  if (std::ssize(experts) % threads != 0 && std::ssize(experts) < 4 * threads) return false;
  return std::ranges::all_of(experts,
                             [&](int32_t e) { return RowsOf(s, static_cast<size_t>(e)).count * threads <= rows; });
}

void RunExpertsApart(const Pass& pass, const LayerWeights& w, std::span<const int32_t> experts) {
  Scratch& s = pass.s;
  pass.pool.Run(std::ssize(experts), [&](int64_t i, int) {
    const auto e = static_cast<size_t>(experts[static_cast<size_t>(i)]);
    const ExpertRows rows = RowsOf(s, e);
    const int64_t end = rows.begin + rows.count;
    Scratch own = s;
    if (s.linear_x.dim(0) > 0) own.linear_x = s.linear_x.Rows(rows.begin, end);
    RunExpert(pass.Alone(own, pass.stats), w.experts[e], rows, rows.begin, s.expert_out.Rows(rows.begin, end));
  });
  for (const int32_t e : experts) {
    const ExpertRows rows = RowsOf(s, static_cast<size_t>(e));
    AddExpert(pass, rows, s.expert_out.Rows(rows.begin, rows.begin + rows.count));
  }
}

void RunExperts(const Pass& pass, const LayerWeights& w, std::span<const int32_t> experts) {
  if (RunsExpertsApart(pass, experts)) return RunExpertsApart(pass, w, experts);
  Scratch& s = pass.s;
  for (const int32_t e : experts) {
    const ExpertRows rows = RowsOf(s, static_cast<size_t>(e));
    const auto out = s.expert_out.Rows(0, rows.count);
    RunExpert(pass, w.experts[static_cast<size_t>(e)], rows, 0, out);
    AddExpert(pass, rows, out);
  }
}

// The same from the expert cache, the first that are there first; they are added in ascending order all the same.
void RunCachedExperts(const Pass& pass, std::span<const int32_t> experts) {
  Scratch& s = pass.s;
  const bool keeps_all = pass.num_rows * pass.c.num_experts_per_tok <= s.expert_out.dim(0);
  for (int64_t i; (i = pass.expert_cache->Next(/*in_order=*/!keeps_all)) >= 0;) {
    const ExpertRows rows = RowsOf(s, static_cast<size_t>(experts[static_cast<size_t>(i)]));
    const int64_t first = keeps_all ? rows.begin : 0;
    const auto out = s.expert_out.Rows(first, first + rows.count);
    RunExpert(pass, pass.expert_cache->Weights(i), rows, 0, out);
    pass.expert_cache->Release(i);
    if (!keeps_all) AddExpert(pass, rows, out);
  }
  if (!keeps_all) return;
  for (const int32_t e : experts) {
    const ExpertRows rows = RowsOf(s, static_cast<size_t>(e));
    AddExpert(pass, rows, s.expert_out.Rows(rows.begin, rows.begin + rows.count));
  }
}

void RunMoe(const Pass& pass, const LayerWeights& w, int64_t layer) {
  Scratch& s = pass.s;
  const int64_t n = pass.num_rows;
  const auto x = s.x_norm.Rows(0, n), y = s.block_out.Rows(0, n);
  RouteRows(pass, w, x, s.experts, s.expert_weights);
  if (pass.taps) {
    pass.taps->Ints("experts", layer, s.experts.Rows(0, n));
    pass.taps->Floats("expert_weights", layer, s.expert_weights.Rows(0, n));
  }
  GroupByExpert(pass);
  const auto list = s.expert_list[0];
  size_t count = 0;
  for (size_t e = 0; e < w.experts.size(); ++e)
    if (RowsOf(s, e).count > 0) list[count++] = static_cast<int32_t>(e);
  const std::span<const int32_t> experts = list.first(count);
  pass.stats.experts += static_cast<int64_t>(count);
  if (pass.expert_cache) pass.expert_cache->Need(layer, experts);  // they are read meanwhile
  if (pass.c.n_shared_experts > 0) {
    RunMlp(pass, w.shared_experts, x, y);
  } else {
    for (int64_t r = 0; r < n; ++r) std::ranges::fill(y[r], 0.0f);
  }
  if (pass.expert_cache) {
    RunCachedExperts(pass, experts);
  } else {
    RunExperts(pass, w, experts);
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

void PrefetchExperts(const Pass& pass, const LayerWeights& w, int64_t layer) {
  if (!pass.c.is_moe_layer[static_cast<size_t>(layer)]) return;
  Scratch& s = pass.s;
  const int64_t n = pass.num_rows;
  const auto normed = s.expert_in.Rows(0, n);
  pass.RmsNorm(s.x.Rows(0, n), w.post_attention_layernorm, pass.c.rms_norm_eps, normed);
  RouteRows(pass, w, normed, s.next_experts, s.next_expert_weights);
  // Each once.
  const auto list = s.expert_list[0];
  size_t count = 0;
  for (size_t e = 0; e < w.experts.size(); ++e)
    for (int64_t r = 0; r < n; ++r)
      if (std::ranges::find(s.next_experts[r], static_cast<int32_t>(e)) != s.next_experts[r].end()) {
        list[count++] = static_cast<int32_t>(e);
        break;
      }
  pass.expert_cache->Prefetch(layer, list.first(count));
}

}  // namespace minke
