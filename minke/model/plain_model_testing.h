// The model and its gradient once more, in double, as plain loops: the equations of docs/training.md with nothing
// between them and the reader. No kernels, threads, cache or kept buffers; central differences check it, and then it
// checks the Learner. For tests.
//
// What is discrete is frozen after the first Forward: the keys that each query attends to and each token's experts.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "minke/base/token_id.h"
#include "minke/model/config.h"
#include "minke/model/parameters.h"
#include "minke/model/rope.h"

namespace minke {

struct PlainMatrix {
  int64_t rows = 0, cols = 0;
  std::vector<double> v;
  PlainMatrix() = default;
  PlainMatrix(int64_t r, int64_t c) : rows(r), cols(c), v(static_cast<size_t>(r * c)) {}
  double* operator[](int64_t r) { return v.data() + r * cols; }
  const double* operator[](int64_t r) const { return v.data() + r * cols; }
  PlainMatrix Cols(int64_t begin, int64_t end) const {
    PlainMatrix part(rows, end - begin);
    for (int64_t r = 0; r < rows; ++r) std::copy((*this)[r] + begin, (*this)[r] + end, part[r]);
    return part;
  }
  void Add(const PlainMatrix& m, int64_t first_col = 0) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < m.cols; ++i) (*this)[r][first_col + i] += m[r][i];
  }
};

using PlainTensors = std::map<std::string, std::vector<double>>;  // by the checkpoint's names

// Of the losses in the gradient: each is a mean over the rows of all sequences.
struct PlainWeights {
  double lm = 0, mtp = 0, balance = 0;
  double kl = 0;  // of one row and layer, a sum
};

class PlainModel {
 public:
  PlainModel(const Parameters& p, bool dense, bool mtp) : c_(p.model()->config()), rope_(c_), dense_(dense), mtp_(mtp) {
    for (const Parameter& tensor : p.list()) {
      const auto values = p.values().subspan(static_cast<size_t>(tensor.offset), static_cast<size_t>(tensor.size));
      weights[tensor.name].assign(values.begin(), values.end());
    }
  }

  struct Losses {
    double lm = 0, mtp = 0, kl = 0, balance = 0;
  };
  // Cross-entropies are means over the targets of all sequences; kl is the sum over rows and layers; balance the sum
  // over layers of the mean over rows.
  Losses Forward(std::span<const std::vector<TokenId>> sequences, const PlainWeights& o) {
    Losses losses;
    runs_.resize(sequences.size());
    for (size_t s = 0; s < sequences.size(); ++s) runs_[s].tokens = sequences[s];
    for (Run& run : runs_) ForwardRun(run, Count(0), Count(1), Count(2), losses, o);
    return losses;
  }
  // After Forward.
  void Backward() {
    gradients.clear();
    for (const auto& [name, values] : weights) gradients[name].resize(values.size());
    for (Run& run : runs_) BackwardRun(run);
  }

  // [tokens][.] of sequence s.
  const std::vector<std::vector<int>>& experts(size_t s, int64_t layer) const {
    return runs_[s].layers[static_cast<size_t>(layer)].experts;
  }
  const PlainMatrix& logits(size_t s) const { return runs_[s].logits; }

  PlainTensors weights, gradients;

 private:
  using Matrix = PlainMatrix;

  struct Layer {
    int64_t index = 0;
    Matrix x, n1, q_a_raw, q_a, q, kv_raw, c, k_r, q_latent, o_latent, o, x_mid, n2;
    std::vector<std::vector<int>> keys;        // [T]: the positions that a query attends to
    std::vector<std::vector<double>> p;        // [T][H * keys]
    Matrix qi, ki_raw, ki, wi;                 // indexer: rotated queries, keys before and after norm and RoPE, weights
    std::vector<std::vector<double>> d_score;  // [T][keys]: dL/dI
    Matrix scores;                             // [T, E]
    std::vector<std::vector<int>> experts;     // [T]
    std::vector<double> f;                     // [E]
    double balance_weight = 0;
  };
  struct Run {
    std::vector<TokenId> tokens;
    std::vector<Layer> layers;  // the MTP layer last
    Matrix x_out, hidden, logits, d_logits;
    Matrix embedding, mtp_in, mtp_out, mtp_hidden, mtp_d_logits;
  };

  // Over all sequences: rows that have a token `ahead` positions on.
  double Count(int64_t ahead) const {
    int64_t count = 0;
    for (const Run& run : runs_) count += std::max<int64_t>(0, std::ssize(run.tokens) - ahead);
    return static_cast<double>(count);
  }
  static std::string Prefix(int64_t layer) { return "model.layers." + std::to_string(layer) + "."; }
  const std::vector<double>& W(const std::string& name) const { return weights.at(name); }
  std::string HeadName() const { return c_.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight"; }

  // ---- Linear, norms, RoPE, SwiGLU, each with its way back.

  // y = x W^T + b.
  Matrix Linear(const Matrix& x, const std::string& name, const std::string& bias = "") const {
    const auto& w = W(name);
    Matrix y(x.rows, std::ssize(w) / x.cols);
    for (int64_t r = 0; r < x.rows; ++r)
      for (int64_t j = 0; j < y.cols; ++j)
        y[r][j] = std::inner_product(x[r], x[r] + x.cols, w.data() + j * x.cols,
                                     weights.contains(bias) ? W(bias)[static_cast<size_t>(j)] : 0.0);
    return y;
  }
  // dx += dy W; dW += dy^T x; db += sum dy.
  void LinearBack(const Matrix& x, const std::string& name, const Matrix& dy, Matrix* dx,
                  const std::string& bias = "") {
    const auto& w = W(name);
    auto& dw = gradients[name];
    for (int64_t r = 0; r < x.rows; ++r)
      for (int64_t j = 0; j < dy.cols; ++j) {
        for (int64_t i = 0; i < x.cols; ++i) {
          if (dx) (*dx)[r][i] += dy[r][j] * w[static_cast<size_t>(j * x.cols + i)];
          dw[static_cast<size_t>(j * x.cols + i)] += dy[r][j] * x[r][i];
        }
        if (weights.contains(bias)) gradients[bias][static_cast<size_t>(j)] += dy[r][j];
      }
  }

  // y = g x r, r = (mean(x^2) + eps)^-1/2.
  Matrix RmsNorm(const Matrix& x, const std::string& name, double eps) const {
    Matrix y(x.rows, x.cols);
    for (int64_t t = 0; t < x.rows; ++t) {
      const double r = Rms(x, t, eps);
      for (int64_t i = 0; i < x.cols; ++i) y[t][i] = W(name)[static_cast<size_t>(i)] * x[t][i] * r;
    }
    return y;
  }
  // u = dy g: dx += r (u - x r^2 mean(u x)); dg += dy x r.
  void RmsNormBack(const Matrix& x, const std::string& name, double eps, const Matrix& dy, Matrix& dx) {
    for (int64_t t = 0; t < x.rows; ++t) {
      const double r = Rms(x, t, eps);
      double mean = 0;
      for (int64_t i = 0; i < x.cols; ++i)
        mean += dy[t][i] * W(name)[static_cast<size_t>(i)] * x[t][i] / static_cast<double>(x.cols);
      for (int64_t i = 0; i < x.cols; ++i) {
        dx[t][i] += r * (dy[t][i] * W(name)[static_cast<size_t>(i)] - x[t][i] * r * r * mean);
        gradients[name][static_cast<size_t>(i)] += dy[t][i] * x[t][i] * r;
      }
    }
  }
  static double Rms(const Matrix& x, int64_t t, double eps) {
    return 1 / std::sqrt(std::inner_product(x[t], x[t] + x.cols, x[t], 0.0) / static_cast<double>(x.cols) + eps);
  }

  // Of index keys: y = g (x - mean) r + b.
  struct Moments {
    double mean, r;
  };
  static Moments MomentsOf(const Matrix& x, int64_t t) {
    const double n = static_cast<double>(x.cols), mean = std::accumulate(x[t], x[t] + x.cols, 0.0) / n;
    double square = 0;
    for (int64_t i = 0; i < x.cols; ++i) square += (x[t][i] - mean) * (x[t][i] - mean) / n;
    return {mean, 1 / std::sqrt(square + kNormEps)};
  }
  Matrix LayerNorm(const Matrix& x, const std::string& name) const {
    Matrix y(x.rows, x.cols);
    for (int64_t t = 0; t < x.rows; ++t) {
      const Moments m = MomentsOf(x, t);
      for (int64_t i = 0; i < x.cols; ++i)
        y[t][i] = W(name + "weight")[static_cast<size_t>(i)] * (x[t][i] - m.mean) * m.r +
                  W(name + "bias")[static_cast<size_t>(i)];
    }
    return y;
  }
  // With x' = (x - mean) r and u = dy g: dx = r (u - mean(u) - x' mean(u x')); dg += dy x'; db += dy.
  Matrix LayerNormBack(const Matrix& x, const std::string& name, const Matrix& dy) {
    Matrix dx(x.rows, x.cols);
    for (int64_t t = 0; t < x.rows; ++t) {
      const Moments m = MomentsOf(x, t);
      double mean_u = 0, mean_ux = 0;
      for (int64_t i = 0; i < x.cols; ++i) {
        const double u = dy[t][i] * W(name + "weight")[static_cast<size_t>(i)] / static_cast<double>(x.cols);
        mean_u += u, mean_ux += u * (x[t][i] - m.mean) * m.r;
      }
      for (int64_t i = 0; i < x.cols; ++i) {
        const auto at = static_cast<size_t>(i);
        const double unit = (x[t][i] - m.mean) * m.r;
        dx[t][i] = m.r * (dy[t][i] * W(name + "weight")[at] - mean_u - unit * mean_ux);
        gradients[name + "weight"][at] += dy[t][i] * unit;
        gradients[name + "bias"][at] += dy[t][i];
      }
    }
    return dx;
  }

  // Rotates `part` [dr] of position t; sign -1 is the way back (with YaRN's factor, which is symmetric).
  void Rotate(int64_t t, double* part, RopePairing pairing, double sign = 1) const {
    const int64_t half = c_.qk_rope_head_dim / 2;
    std::vector<float> cos(static_cast<size_t>(half)), sin(cos.size());
    rope_.CosSin(t, cos, sin);
    for (int64_t j = 0; j < half; ++j) {
      const bool pairs = pairing == RopePairing::kInterleaved;
      double &a = part[pairs ? 2 * j : j], &b = part[pairs ? 2 * j + 1 : j + half];
      const double co = static_cast<double>(cos[static_cast<size_t>(j)]);
      const double si = sign * static_cast<double>(sin[static_cast<size_t>(j)]);
      const double turned = a * co - b * si;
      b = a * si + b * co, a = turned;
    }
  }

  // y = W_down (silu(a) b).
  Matrix Mlp(const Matrix& x, const std::string& name) const {
    const Matrix a = Linear(x, name + "gate_proj.weight"), b = Linear(x, name + "up_proj.weight");
    Matrix h = a;
    for (size_t i = 0; i < h.v.size(); ++i) h.v[i] = a.v[i] / (1 + std::exp(-a.v[i])) * b.v[i];
    return Linear(h, name + "down_proj.weight");
  }
  // With s = sigmoid(a): da = dh b s (1 + a (1 - s)), db = dh a s.
  void MlpBack(const Matrix& x, const std::string& name, const Matrix& dy, Matrix& dx) {
    const Matrix a = Linear(x, name + "gate_proj.weight"), b = Linear(x, name + "up_proj.weight");
    Matrix h = a, dh(a.rows, a.cols), da = dh, db = dh;
    for (size_t i = 0; i < h.v.size(); ++i) h.v[i] = a.v[i] / (1 + std::exp(-a.v[i])) * b.v[i];
    LinearBack(h, name + "down_proj.weight", dy, &dh);
    for (size_t i = 0; i < h.v.size(); ++i) {
      const double s = 1 / (1 + std::exp(-a.v[i]));
      da.v[i] = dh.v[i] * b.v[i] * s * (1 + a.v[i] * (1 - s));
      db.v[i] = dh.v[i] * a.v[i] * s;
    }
    LinearBack(x, name + "gate_proj.weight", da, &dx);
    LinearBack(x, name + "up_proj.weight", db, &dx);
  }

  static void Softmax(double* x, int64_t n) {
    const double most = *std::max_element(x, x + n);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] - most);
    for (int64_t i = 0; i < n; ++i) x[i] /= sum;
  }
  // The k largest, ascending; of equals the lower index.
  static std::vector<int> TopK(std::span<const double> values, int64_t k) {
    std::vector<int> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, [&](int a, int b) {
      const double x = values[static_cast<size_t>(a)], y = values[static_cast<size_t>(b)];
      return x > y || (x == y && a < b);
    });
    order.resize(std::min(order.size(), static_cast<size_t>(k)));
    std::ranges::sort(order);
    return order;
  }

  // ---- Attention: MLA, absorbed. Head h has W_uk and W_uv in kv_b_proj.

  int64_t KeyRow(int64_t h) const { return h * (c_.qk_nope_head_dim + c_.v_head_dim); }
  const double* B(const std::string& name, int64_t row) const { return W(name).data() + row * c_.kv_lora_rank; }
  double* dB(const std::string& name, int64_t row) { return gradients[name].data() + row * c_.kv_lora_rank; }

  void IndexForward(Layer& l) const {
    const std::string in = Prefix(l.index) + "self_attn.indexer.";
    l.qi = Linear(l.q_a, in + "wq_b.weight");
    l.wi = Linear(l.n1, in + "weights_proj.weight");
    l.ki_raw = Linear(l.n1, in + "wk.weight");
    l.ki = LayerNorm(l.ki_raw, in + "k_norm.");
    const double scale = IndexScale();
    for (int64_t t = 0; t < l.n1.rows; ++t) {
      for (int64_t j = 0; j < c_.index_n_heads; ++j) Rotate(t, l.qi[t] + j * c_.index_head_dim, c_.index_rope);
      Rotate(t, l.ki[t], c_.index_rope);
      for (int64_t j = 0; j < c_.index_n_heads; ++j) l.wi[t][j] *= scale;
    }
  }
  double IndexScale() const { return 1 / std::sqrt(static_cast<double>(c_.index_n_heads * c_.index_head_dim)); }
  double IndexDot(const Layer& l, int64_t t, int64_t j, int64_t s) const {
    const double* q = l.qi[t] + j * c_.index_head_dim;
    return std::inner_product(q, q + c_.index_head_dim, l.ki[s], 0.0);
  }
  // I[t, s] = sum_j w[t, j] relu(q[t, j] . k[s]).
  double IndexScore(const Layer& l, int64_t t, int64_t s) const {
    double sum = 0;
    for (int64_t j = 0; j < c_.index_n_heads; ++j) sum += l.wi[t][j] * std::max(0.0, IndexDot(l, t, j, s));
    return sum;
  }
  bool OwnIndexer(const Layer& l) const { return c_.has_own_indexer[static_cast<size_t>(l.index)]; }

  void Select(Layer& l, const Layer* before) const {
    l.keys.resize(static_cast<size_t>(l.n1.rows));
    for (int64_t t = 0; t < l.n1.rows; ++t) {
      std::vector<double> scores(static_cast<size_t>(t + 1));
      const bool selects = c_.has_indexer() && !dense_ && t + 1 > c_.index_topk;
      if (selects && !OwnIndexer(l)) {
        l.keys[static_cast<size_t>(t)] = before->keys[static_cast<size_t>(t)];
        continue;
      }
      for (int64_t s = 0; selects && s <= t; ++s) scores[static_cast<size_t>(s)] = IndexScore(l, t, s);
      l.keys[static_cast<size_t>(t)] = TopK(scores, selects ? c_.index_topk : t + 1);
    }
  }

  Matrix Attention(Layer& l, const Layer* before, double kl_weight, Losses& losses) const {
    const std::string in = Prefix(l.index) + "self_attn.", kv_b = in + "kv_b_proj.weight";
    const int64_t n = l.n1.rows, heads = c_.num_attention_heads, rc = c_.kv_lora_rank, dr = c_.qk_rope_head_dim;
    const int64_t dn = c_.qk_nope_head_dim, dv = c_.v_head_dim, width = rc + dr;
    if (c_.q_lora_rank == 0) {
      l.q = Linear(l.n1, in + "q_proj.weight");
    } else {
      l.q_a_raw = Linear(l.n1, in + "q_a_proj.weight", in + "q_a_proj.bias");
      l.q_a = RmsNorm(l.q_a_raw, in + "q_a_layernorm.weight", kNormEps);
      l.q = Linear(l.q_a, in + "q_b_proj.weight");
    }
    l.kv_raw = Linear(l.n1, in + "kv_a_proj_with_mqa.weight", in + "kv_a_proj_with_mqa.bias");
    l.c = RmsNorm(l.kv_raw.Cols(0, rc), in + "kv_a_layernorm.weight", kNormEps);
    l.k_r = l.kv_raw.Cols(rc, width);
    for (int64_t t = 0; t < n; ++t) Rotate(t, l.k_r[t], RopePairing::kInterleaved);
    if (c_.has_indexer() && OwnIndexer(l)) IndexForward(l);
    if (l.keys.empty()) Select(l, before);

    l.q_latent = Matrix(n, heads * width), l.o_latent = Matrix(n, heads * rc), l.o = Matrix(n, heads * dv);
    l.p.assign(static_cast<size_t>(n), {});
    l.d_score.assign(static_cast<size_t>(n), {});
    const double scale = static_cast<double>(SoftmaxScale(c_));
    for (int64_t t = 0; t < n; ++t) {
      const auto& keys = l.keys[static_cast<size_t>(t)];
      const int64_t count = std::ssize(keys);
      auto& p = l.p[static_cast<size_t>(t)];
      p.resize(static_cast<size_t>(heads * count));
      for (int64_t h = 0; h < heads; ++h) {
        double *q = l.q[t] + h * (dn + dr), *latent = l.q_latent[t] + h * width, *p_h = p.data() + h * count;
        Rotate(t, q + dn, RopePairing::kInterleaved);
        for (int64_t i = 0; i < dn; ++i)
          for (int64_t r = 0; r < rc; ++r) latent[r] += q[i] * B(kv_b, KeyRow(h) + i)[r];
        std::copy(q + dn, q + dn + dr, latent + rc);
        for (int64_t k = 0; k < count; ++k) {
          const int s = keys[static_cast<size_t>(k)];
          p_h[k] = scale * (std::inner_product(latent, latent + rc, l.c[s], 0.0) +
                            std::inner_product(latent + rc, latent + width, l.k_r[s], 0.0));
        }
        Softmax(p_h, count);
        double* o = l.o_latent[t] + h * rc;
        for (int64_t k = 0; k < count; ++k)
          for (int64_t r = 0; r < rc; ++r) o[r] += p_h[k] * l.c[keys[static_cast<size_t>(k)]][r];
        for (int64_t i = 0; i < dv; ++i)
          l.o[t][h * dv + i] = std::inner_product(o, o + rc, B(kv_b, KeyRow(h) + dn + i), 0.0);
      }
      if (kl_weight > 0 && OwnIndexer(l)) IndexLoss(l, t, kl_weight, losses);
    }
    return Linear(l.o, in + "o_proj.weight", in + "o_proj.bias");
  }

  // KL(p || q), q = softmax(I) over the keys, p the mean of the heads' probabilities, a constant: dI = (q - p) weight.
  void IndexLoss(Layer& l, int64_t t, double weight, Losses& losses) const {
    const auto& keys = l.keys[static_cast<size_t>(t)];
    const auto& p_heads = l.p[static_cast<size_t>(t)];
    std::vector<double> q;
    for (const int s : keys) q.push_back(IndexScore(l, t, s));
    Softmax(q.data(), std::ssize(q));
    for (size_t k = 0; k < keys.size(); ++k) {
      double p = 0;
      for (size_t h = 0; h < static_cast<size_t>(c_.num_attention_heads); ++h)
        p += p_heads[h * keys.size() + k] / static_cast<double>(c_.num_attention_heads);
      if (p > 0) losses.kl += p * std::log(p / q[k]);
      l.d_score[static_cast<size_t>(t)].push_back((q[k] - p) * weight);
    }
  }

  void IndexBack(const Layer& l) {
    const std::string in = Prefix(l.index) + "self_attn.indexer.";
    const int64_t dim = c_.index_head_dim;
    Matrix dq(l.qi.rows, l.qi.cols), dk(l.ki.rows, l.ki.cols), dw(l.wi.rows, l.wi.cols);
    for (int64_t t = 0; t < dq.rows; ++t) {
      const auto& d_score = l.d_score[static_cast<size_t>(t)];
      for (size_t k = 0; k < d_score.size(); ++k) {
        const int s = l.keys[static_cast<size_t>(t)][k];
        for (int64_t j = 0; j < c_.index_n_heads; ++j) {
          const double dot = IndexDot(l, t, j, s), d = d_score[k] * l.wi[t][j];
          if (dot <= 0) continue;
          dw[t][j] += d_score[k] * dot;
          for (int64_t i = 0; i < dim; ++i) {
            dq[t][j * dim + i] += d * l.ki[s][i];
            dk[s][i] += d * l.qi[t][j * dim + i];
          }
        }
      }
    }
    for (int64_t t = 0; t < dq.rows; ++t) {
      for (int64_t j = 0; j < c_.index_n_heads; ++j)
        Rotate(t, dq[t] + j * dim, c_.index_rope, -1), dw[t][j] *= IndexScale();
      Rotate(t, dk[t], c_.index_rope, -1);
    }
    const Matrix dk_raw = LayerNormBack(l.ki_raw, in + "k_norm.", dk);
    LinearBack(l.q_a, in + "wq_b.weight", dq, nullptr);  // q_a and n1 are constants here
    LinearBack(l.n1, in + "weights_proj.weight", dw, nullptr);
    LinearBack(l.n1, in + "wk.weight", dk_raw, nullptr);
  }

  void AttentionBack(const Layer& l, const Matrix& dy, Matrix& dx) {
    const std::string in = Prefix(l.index) + "self_attn.", kv_b = in + "kv_b_proj.weight";
    const int64_t n = l.n1.rows, heads = c_.num_attention_heads, rc = c_.kv_lora_rank, dr = c_.qk_rope_head_dim;
    const int64_t dn = c_.qk_nope_head_dim, dv = c_.v_head_dim, width = rc + dr;
    const double scale = static_cast<double>(SoftmaxScale(c_));
    Matrix d_o(n, heads * dv), dq(n, heads * (dn + dr)), dc(n, rc), dk_r(n, dr), d_kv(n, width), dc_raw(n, rc);
    LinearBack(l.o, in + "o_proj.weight", dy, &d_o, in + "o_proj.bias");
    for (int64_t t = 0; t < n; ++t) {
      const auto& keys = l.keys[static_cast<size_t>(t)];
      const int64_t count = std::ssize(keys);
      for (int64_t h = 0; h < heads; ++h) {
        std::vector<double> d_o_latent(static_cast<size_t>(rc)), d_latent(static_cast<size_t>(width));
        const double *o_latent = l.o_latent[t] + h * rc, *latent = l.q_latent[t] + h * width;
        for (int64_t i = 0; i < dv; ++i)  // o = W_uv o_latent
          for (int64_t r = 0; r < rc; ++r) {
            d_o_latent[static_cast<size_t>(r)] += d_o[t][h * dv + i] * B(kv_b, KeyRow(h) + dn + i)[r];
            dB(kv_b, KeyRow(h) + dn + i)[r] += d_o[t][h * dv + i] * o_latent[r];
          }
        const double delta = std::inner_product(o_latent, o_latent + rc, d_o_latent.data(), 0.0);
        for (int64_t k = 0; k < count; ++k) {  // dS = P (d_o . c - delta)
          const int s = keys[static_cast<size_t>(k)];
          const double p = l.p[static_cast<size_t>(t)][static_cast<size_t>(h * count + k)];
          const double ds = scale * p * (std::inner_product(l.c[s], l.c[s] + rc, d_o_latent.data(), 0.0) - delta);
          for (int64_t r = 0; r < rc; ++r) {
            d_latent[static_cast<size_t>(r)] += ds * l.c[s][r];
            dc[s][r] += ds * latent[r] + p * d_o_latent[static_cast<size_t>(r)];
          }
          for (int64_t r = 0; r < dr; ++r) {
            d_latent[static_cast<size_t>(rc + r)] += ds * l.k_r[s][r];
            dk_r[s][r] += ds * latent[rc + r];
          }
        }
        double* dq_h = dq[t] + h * (dn + dr);
        const double* q_h = l.q[t] + h * (dn + dr);
        for (int64_t i = 0; i < dn; ++i)  // q_latent = q_nope W_uk
          for (int64_t r = 0; r < rc; ++r) {
            dq_h[i] += d_latent[static_cast<size_t>(r)] * B(kv_b, KeyRow(h) + i)[r];
            dB(kv_b, KeyRow(h) + i)[r] += q_h[i] * d_latent[static_cast<size_t>(r)];
          }
        std::copy(d_latent.begin() + rc, d_latent.end(), dq_h + dn);
        Rotate(t, dq_h + dn, RopePairing::kInterleaved, -1);
      }
    }
    if (c_.q_lora_rank == 0) {
      LinearBack(l.n1, in + "q_proj.weight", dq, &dx);
    } else {
      Matrix dq_a(n, c_.q_lora_rank), dq_a_raw = dq_a;
      LinearBack(l.q_a, in + "q_b_proj.weight", dq, &dq_a);
      RmsNormBack(l.q_a_raw, in + "q_a_layernorm.weight", kNormEps, dq_a, dq_a_raw);
      LinearBack(l.n1, in + "q_a_proj.weight", dq_a_raw, &dx, in + "q_a_proj.bias");
    }
    for (int64_t t = 0; t < n; ++t) Rotate(t, dk_r[t], RopePairing::kInterleaved, -1);
    RmsNormBack(l.kv_raw.Cols(0, rc), in + "kv_a_layernorm.weight", kNormEps, dc, dc_raw);
    d_kv.Add(dc_raw), d_kv.Add(dk_r, rc);
    LinearBack(l.n1, in + "kv_a_proj_with_mqa.weight", d_kv, &dx, in + "kv_a_proj_with_mqa.bias");
  }

  // ---- FFN: dense, or router and experts.

  bool IsMoe(const Layer& l) const { return c_.is_moe_layer[static_cast<size_t>(l.index)]; }
  static std::string Expert(const std::string& in, int e) { return in + "experts." + std::to_string(e) + "."; }

  // The top K of s + b among the experts of the best groups.
  std::vector<int> Choose(const Layer& l, const double* scores) const {
    const int64_t e_count = c_.n_routed_experts;
    std::vector<double> choice(scores, scores + e_count);
    const bool noaux = c_.topk_method == TopkMethod::kNoauxTc;
    if (noaux)
      for (int64_t e = 0; e < e_count; ++e)
        choice[static_cast<size_t>(e)] +=
            W(Prefix(l.index) + "mlp.gate.e_score_correction_bias")[static_cast<size_t>(e)];
    if (c_.topk_method != TopkMethod::kGreedy && c_.n_group > 1) {
      const int64_t size = e_count / c_.n_group;
      std::vector<double> groups;
      for (int64_t g = 0; g < c_.n_group; ++g) {
        std::vector<double> members(choice.begin() + g * size, choice.begin() + (g + 1) * size);
        std::ranges::sort(members, std::greater());
        groups.push_back(members[0] + (noaux ? members[1] : 0));
      }
      const std::vector<int> kept = TopK(groups, c_.topk_group);
      for (int64_t e = 0; e < e_count; ++e)
        if (!std::ranges::binary_search(kept, static_cast<int>(e / size))) choice[static_cast<size_t>(e)] = -1e9;
    }
    return TopK(choice, c_.num_experts_per_tok);
  }
  // g_e = scale s_e / sum of the chosen s.
  double GateScale(const Layer& l, int64_t t) const {
    double sum = 0;
    for (const int e : l.experts[static_cast<size_t>(t)]) sum += l.scores[t][e];
    return static_cast<double>(c_.routed_scaling_factor) / (c_.norm_topk_prob ? sum + 1e-20 : 1);
  }
  static Matrix Row(const Matrix& m, int64_t t) {
    Matrix row(1, m.cols);
    std::copy(m[t], m[t] + m.cols, row[0]);
    return row;
  }

  Matrix Ffn(Layer& l, double rows, double balance_weight, Losses& losses) const {
    const std::string in = Prefix(l.index) + "mlp.";
    const int64_t n = l.n2.rows, e_count = c_.n_routed_experts;
    if (!IsMoe(l)) return Mlp(l.n2, in);
    l.scores = Linear(l.n2, in + "gate.weight");
    for (int64_t t = 0; t < n; ++t)
      if (c_.scoring_func == RouterScore::kSoftmax) {
        Softmax(l.scores[t], e_count);
      } else {
        for (int64_t e = 0; e < e_count; ++e) l.scores[t][e] = 1 / (1 + std::exp(-l.scores[t][e]));
      }
    if (l.experts.empty()) {
      l.f.resize(static_cast<size_t>(e_count));
      for (int64_t t = 0; t < n; ++t) {
        l.experts.push_back(Choose(l, l.scores[t]));
        for (const int e : TopK({l.scores[t], static_cast<size_t>(e_count)}, c_.num_experts_per_tok))
          l.f[static_cast<size_t>(e)] += static_cast<double>(e_count) / static_cast<double>(c_.num_experts_per_tok * n);
      }
    }
    l.balance_weight = balance_weight / rows;
    for (int64_t t = 0; t < n; ++t) losses.balance += BalanceOf(l, t) / rows;
    Matrix y = c_.n_shared_experts > 0 ? Mlp(l.n2, in + "shared_experts.") : Matrix(n, c_.hidden_size);
    for (int64_t t = 0; t < n; ++t)
      for (const int e : l.experts[static_cast<size_t>(t)]) {
        const Matrix out = Mlp(Row(l.n2, t), Expert(in, e));
        for (int64_t i = 0; i < y.cols; ++i) y[t][i] += GateScale(l, t) * l.scores[t][e] * out[0][i];
      }
    return y;
  }
  // sum_e f_e s_e / sum s, of one token.
  double BalanceOf(const Layer& l, int64_t t) const {
    const int64_t e_count = c_.n_routed_experts;
    return std::inner_product(l.f.begin(), l.f.end(), l.scores[t], 0.0) /
           std::accumulate(l.scores[t], l.scores[t] + e_count, 0.0);
  }

  void FfnBack(const Layer& l, const Matrix& dy, Matrix& dx) {
    const std::string in = Prefix(l.index) + "mlp.";
    const int64_t n = l.n2.rows, e_count = c_.n_routed_experts;
    if (!IsMoe(l)) return MlpBack(l.n2, in, dy, dx);
    if (c_.n_shared_experts > 0) MlpBack(l.n2, in + "shared_experts.", dy, dx);
    Matrix dz(n, e_count);
    for (int64_t t = 0; t < n; ++t) {
      const auto& experts = l.experts[static_cast<size_t>(t)];
      const double scale = GateScale(l, t);
      const double* s = l.scores[t];
      std::vector<double> ds(static_cast<size_t>(e_count)), dg(experts.size());
      double dot = 0, sum = 0, all = std::accumulate(s, s + e_count, 0.0);
      for (size_t i = 0; i < experts.size(); ++i) {
        const int e = experts[i];
        const Matrix x = Row(l.n2, t), out = Mlp(x, Expert(in, e));
        Matrix d_out = Row(dy, t), dx_row(1, dx.cols);
        dg[i] = std::inner_product(out.v.begin(), out.v.end(), d_out.v.begin(), 0.0);
        dot += scale * s[e] * dg[i], sum += s[e];
        for (double& d : d_out.v) d *= scale * s[e];
        MlpBack(x, Expert(in, e), d_out, dx_row);
        for (int64_t j = 0; j < dx.cols; ++j) dx[t][j] += dx_row[0][j];
      }
      for (size_t i = 0; i < experts.size(); ++i)  // ds_e = (lambda dg_e - sum_j g_j dg_j) / sum
        ds[static_cast<size_t>(experts[i])] = c_.norm_topk_prob ? scale * dg[i] - dot / sum : scale * dg[i];
      const double balance = BalanceOf(l, t);
      for (int64_t e = 0; e < e_count; ++e)
        ds[static_cast<size_t>(e)] += l.balance_weight / all * (l.f[static_cast<size_t>(e)] - balance);
      const double mean = std::inner_product(ds.begin(), ds.end(), s, 0.0);
      for (int64_t e = 0; e < e_count; ++e)
        dz[t][e] = c_.scoring_func == RouterScore::kSoftmax ? s[e] * (ds[static_cast<size_t>(e)] - mean)
                                                            : ds[static_cast<size_t>(e)] * s[e] * (1 - s[e]);
    }
    LinearBack(l.n2, in + "gate.weight", dz, &dx);
  }

  // ---- Layers, heads, the whole.

  Matrix LayerForward(Layer& l, const Matrix& x, const Layer* before, double rows, const PlainWeights& o,
                      Losses& losses) const {
    const std::string in = Prefix(l.index);
    const double eps = static_cast<double>(c_.rms_norm_eps);
    l.x = x;
    l.n1 = RmsNorm(l.x, in + "input_layernorm.weight", eps);
    l.x_mid = l.x;
    l.x_mid.Add(Attention(l, before, o.kl, losses));
    l.n2 = RmsNorm(l.x_mid, in + "post_attention_layernorm.weight", eps);
    Matrix out = l.x_mid;
    out.Add(Ffn(l, rows, o.balance, losses));
    return out;
  }
  void LayerBack(const Layer& l, Matrix& dx) {  // in place: behind the layer, before it
    const std::string in = Prefix(l.index);
    const double eps = static_cast<double>(c_.rms_norm_eps);
    Matrix dn(dx.rows, dx.cols);
    FfnBack(l, dx, dn);
    RmsNormBack(l.x_mid, in + "post_attention_layernorm.weight", eps, dn, dx);
    dn = Matrix(dx.rows, dx.cols);
    AttentionBack(l, dx, dn);
    if (c_.has_indexer() && OwnIndexer(l)) IndexBack(l);
    RmsNormBack(l.x, in + "input_layernorm.weight", eps, dn, dx);
  }

  Matrix Embed(std::span<const TokenId> tokens) const {
    Matrix x(std::ssize(tokens), c_.hidden_size);
    for (int64_t t = 0; t < x.rows; ++t)
      std::copy_n(W("model.embed_tokens.weight").data() + tokens[static_cast<size_t>(t)] * x.cols, x.cols, x[t]);
    return x;
  }
  void EmbedBack(std::span<const TokenId> tokens, const Matrix& dx) {
    for (int64_t t = 0; t < dx.rows; ++t)
      for (int64_t i = 0; i < dx.cols; ++i)
        gradients["model.embed_tokens.weight"][static_cast<size_t>(tokens[static_cast<size_t>(t)] * dx.cols + i)] +=
            dx[t][i];
  }

  // Mean over `count` targets, row t predicting tokens[t + ahead]; d_logits = (softmax - onehot) weight / count.
  static double CrossEntropy(const Matrix& logits, std::span<const TokenId> tokens, int64_t ahead, double count,
                             double weight, Matrix& d_logits) {
    double loss = 0;
    d_logits = Matrix(logits.rows, logits.cols);
    for (int64_t t = 0; t + ahead < std::ssize(tokens); ++t) {
      const TokenId target = tokens[static_cast<size_t>(t + ahead)];
      std::copy_n(logits[t], logits.cols, d_logits[t]);
      Softmax(d_logits[t], logits.cols);
      loss -= std::log(d_logits[t][target]) / count;
      d_logits[t][target] -= 1;
      for (int64_t v = 0; v < logits.cols; ++v) d_logits[t][v] *= weight / count;
    }
    return loss;
  }

  void ForwardRun(Run& run, double rows, double pairs, double triples, Losses& losses, const PlainWeights& o) const {
    const int64_t layers = c_.num_hidden_layers;
    const double eps = static_cast<double>(c_.rms_norm_eps);
    run.layers.resize(static_cast<size_t>(layers + (mtp_ ? 1 : 0)));
    run.x_out = Embed(run.tokens);
    for (int64_t i = 0; i < layers; ++i) {
      Layer& l = run.layers[static_cast<size_t>(i)];
      l.index = i;
      run.x_out = LayerForward(l, run.x_out, i > 0 ? &l - 1 : nullptr, rows, o, losses);
    }
    run.hidden = RmsNorm(run.x_out, "model.norm.weight", eps);
    run.logits = Linear(run.hidden, HeadName());
    losses.lm += CrossEntropy(run.logits, run.tokens, 1, pairs, o.lm, run.d_logits);
    if (!mtp_) return;
    // h'_i = W_p [RMSNorm(Emb(t_{i+1})); RMSNorm(h_i)], one block, its norm and the shared head, against t_{i+2}.
    const std::string in = Prefix(layers);
    const int64_t n = std::ssize(run.tokens) - 1, d = c_.hidden_size;
    run.embedding = Embed(std::span(run.tokens).subspan(1));
    Matrix hidden(n, d);
    std::copy_n(run.hidden.v.begin(), hidden.v.size(), hidden.v.begin());
    run.mtp_in = Matrix(n, 2 * d);
    run.mtp_in.Add(RmsNorm(run.embedding, in + "enorm.weight", eps));
    run.mtp_in.Add(RmsNorm(hidden, in + "hnorm.weight", eps), d);
    Layer& l = run.layers.back();
    l.index = layers;
    run.mtp_out = LayerForward(l, Linear(run.mtp_in, in + "eh_proj.weight"), nullptr, pairs, o, losses);
    run.mtp_hidden = RmsNorm(run.mtp_out, in + "shared_head.norm.weight", eps);
    losses.mtp += CrossEntropy(Linear(run.mtp_hidden, HeadName()), run.tokens, 2, triples, o.mtp, run.mtp_d_logits);
  }

  void BackwardRun(Run& run) {
    const int64_t layers = c_.num_hidden_layers, n = std::ssize(run.tokens), d = c_.hidden_size;
    const double eps = static_cast<double>(c_.rms_norm_eps);
    Matrix d_hidden(n, d), dx(n, d);
    if (mtp_) {
      const std::string in = Prefix(layers);
      Matrix dm(n - 1, d), d_out = dm, d_in(n - 1, 2 * d), d_embedding = dm, d_h = dm, hidden = dm;
      LinearBack(run.mtp_hidden, HeadName(), run.mtp_d_logits, &dm);
      RmsNormBack(run.mtp_out, in + "shared_head.norm.weight", eps, dm, d_out);
      LayerBack(run.layers.back(), d_out);
      LinearBack(run.mtp_in, in + "eh_proj.weight", d_out, &d_in);
      RmsNormBack(run.embedding, in + "enorm.weight", eps, d_in.Cols(0, d), d_embedding);
      EmbedBack(std::span(run.tokens).subspan(1), d_embedding);
      std::copy_n(run.hidden.v.begin(), hidden.v.size(), hidden.v.begin());
      RmsNormBack(hidden, in + "hnorm.weight", eps, d_in.Cols(d, 2 * d), d_h);
      std::copy(d_h.v.begin(), d_h.v.end(), d_hidden.v.begin());
    }
    LinearBack(run.hidden, HeadName(), run.d_logits, &d_hidden);
    RmsNormBack(run.x_out, "model.norm.weight", eps, d_hidden, dx);
    for (int64_t i = layers - 1; i >= 0; --i) LayerBack(run.layers[static_cast<size_t>(i)], dx);
    EmbedBack(run.tokens, dx);
  }

  static constexpr double kNormEps = static_cast<double>(1e-6f);  // of latents and index keys

  const ModelConfig c_;
  const Rope rope_;
  const bool dense_, mtp_;
  std::vector<Run> runs_;
};

}  // namespace minke
