// The blocks that training needs, forward and backward, as their equations say (docs/training.md): plain loops with
// double sums. T is what the numbers are kept in: float where they specify the kernels (reference.cc), double where the
// backwards are checked by differences of the forwards (gradient_reference_test.cc). dY is the derivative of the loss
// by Y; "+=" adds to what is there.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace minke::plain {

template <class T>
double Dot(const T* a, const T* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

template <class T>
void Add(T& to, double x) {
  to = static_cast<T>(double{to} + x);
}

// ---- linear: y = x W^T -------------------------------------------------------------------------------

// out[m, n] += sum_k a(m, k) * b(k, n), which is dW += dY^T X and dX += dY W.
template <class T, class A, class B>
void AddProduct(int64_t m_count, int64_t n_count, int64_t k_count, A a, B b, T* out, int64_t stride) {
  for (int64_t m = 0; m < m_count; ++m)
    for (int64_t n = 0; n < n_count; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < k_count; ++k) sum += double{a(m, k)} * double{b(k, n)};
      Add(out[m * stride + n], sum);
    }
}

// ---- norms --------------------------------------------------------------------------------------------

// y = x r w, r = (mean(x^2) + eps)^(-1/2)
template <class T>
void RmsNorm(const T* x, const T* weight, int64_t n, float eps, T* y) {
  const double r = 1.0 / std::sqrt(Dot(x, x, n) / static_cast<double>(n) + eps);
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<T>(x[i] * r * weight[i]);
}

// u = dy w: dx += r (u - x r^2 mean(u x)), dw += dy x r
template <class T>
void RmsNormGrad(const T* x, const T* weight, const T* dy, int64_t n, float eps, T* dx, T* dweight) {
  const double r = 1.0 / std::sqrt(Dot(x, x, n) / static_cast<double>(n) + eps);
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += double{dy[i]} * weight[i] * x[i] / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    Add(dx[i], r * (double{dy[i]} * weight[i] - x[i] * r * r * mean));
    Add(dweight[i], double{dy[i]} * x[i] * r);
  }
}

struct Moments {
  double mean, r;  // r = (var + eps)^(-1/2)
};

template <class T>
Moments MomentsOf(const T* x, int64_t n, float eps) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  return {mean, 1.0 / std::sqrt(squares / static_cast<double>(n) + eps)};
}

// y = x^ w + b, x^ = (x - mean) r
template <class T>
void LayerNorm(const T* x, const T* weight, const T* bias, int64_t n, float eps, T* y) {
  const auto [mean, r] = MomentsOf(x, n, eps);
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<T>((x[i] - mean) * r * weight[i] + bias[i]);
}

// u = dy w: dx += r (u - mean(u) - x^ mean(u x^)), dw += dy x^, db += dy
template <class T>
void LayerNormGrad(const T* x, const T* weight, const T* dy, int64_t n, float eps, T* dx, T* dweight, T* dbias) {
  const auto [mean, r] = MomentsOf(x, n, eps);
  double mean_u = 0, mean_ux = 0;
  for (int64_t i = 0; i < n; ++i) {
    mean_u += double{dy[i]} * weight[i] / static_cast<double>(n);
    mean_ux += double{dy[i]} * weight[i] * (x[i] - mean) * r / static_cast<double>(n);
  }
  for (int64_t i = 0; i < n; ++i) {
    const double normed = (x[i] - mean) * r;
    Add(dx[i], r * (double{dy[i]} * weight[i] - mean_u - normed * mean_ux));
    Add(dweight[i], dy[i] * normed);
    Add(dbias[i], dy[i]);
  }
}

// ---- SwiGLU -------------------------------------------------------------------------------------------

inline double Sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

template <class T>
void SiluMul(const T* gate, const T* up, int64_t n, T* h) {
  for (int64_t i = 0; i < n; ++i) h[i] = static_cast<T>(gate[i] * Sigmoid(gate[i]) * up[i]);
}

// s = sigmoid(gate): dgate = dh up s (1 + gate (1 - s)), dup = dh gate s
template <class T>
void SiluMulGrad(const T* gate, const T* up, const T* dh, int64_t n, T* dgate, T* dup, T* h) {
  for (int64_t i = 0; i < n; ++i) {
    const double a = gate[i], b = up[i], d = dh[i], s = Sigmoid(a);
    dgate[i] = static_cast<T>(d * b * s * (1.0 + a * (1.0 - s)));
    dup[i] = static_cast<T>(d * a * s);
    h[i] = static_cast<T>(a * s * b);
  }
}

// ---- softmax ------------------------------------------------------------------------------------------

// log sum exp of x(i) for i < n; minus infinity if there is none.
template <class X>
double LogSumExp(int64_t n, X x) {
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, double{x(i)});
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x(i) - largest);
  return largest + std::log(sum);
}

template <class T>
double CrossEntropy(const T* logits, int64_t n, int64_t target) {
  return LogSumExp(n, [&](int64_t i) { return logits[i]; }) - logits[target];
}

// In place: dz = (softmax(z) - onehot) weight
template <class T>
void CrossEntropyGrad(T* logits, int64_t n, int64_t target, float weight) {
  const double total = LogSumExp(n, [&](int64_t i) { return logits[i]; });
  for (int64_t i = 0; i < n; ++i)
    logits[i] = static_cast<T>((std::exp(logits[i] - total) - (i == target ? 1.0 : 0.0)) * weight);
}

// ---- latent attention, one query --------------------------------------------------------------------------

struct LatentShape {
  int64_t heads, rc, dr, count;
  float scale;
  int64_t width() const { return rc + dr; }
};

// P[h, i] = softmax over i of scale q_h . row_i; row(i) gives the i-th of `count` rows (c, k_pe).
template <class T, class Row>
std::vector<double> LatentProbabilities(const LatentShape& n, const T* q, Row row) {
  std::vector<double> p(static_cast<size_t>(n.heads * n.count));
  for (int64_t h = 0; h < n.heads; ++h) {
    double* p_h = p.data() + h * n.count;
    for (int64_t i = 0; i < n.count; ++i) p_h[i] = n.scale * Dot(q + h * n.width(), row(i), n.width());
    const double total = LogSumExp(n.count, [&](int64_t i) { return p_h[i]; });
    for (int64_t i = 0; i < n.count; ++i) p_h[i] = std::exp(p_h[i] - total);
  }
  return p;
}

// o_h = sum_i P c_i
template <class T, class Row>
void AttendLatent(const LatentShape& n, const T* q, Row row, T* o) {
  const std::vector<double> p = LatentProbabilities(n, q, row);
  for (int64_t h = 0; h < n.heads; ++h)
    for (int64_t c = 0; c < n.rc; ++c) {
      double sum = 0;
      for (int64_t i = 0; i < n.count; ++i) sum += p[static_cast<size_t>(h * n.count + i)] * row(i)[c];
      o[h * n.rc + c] = static_cast<T>(sum);
    }
}

// dS = P (do . c - do . o): dq = scale sum_i dS row_i, drow_i += sum_h (scale dS q_h + P (do_h, 0)). p_sum (or null)
// [i] = mean over h of P. d_row(i) is where the derivative of row(i) is; only p_sum if d_o is null.
template <class T, class Row, class DRow>
void AttendLatentGrad(const LatentShape& n, const T* q, const T* o, const T* d_o, Row row, T* dq, DRow d_row,
                      T* p_sum) {
  const std::vector<double> p = LatentProbabilities(n, q, row);
  const int64_t width = n.width();
  for (int64_t i = 0; i < n.count && p_sum != nullptr; ++i) {
    double sum = 0;
    for (int64_t h = 0; h < n.heads; ++h) sum += p[static_cast<size_t>(h * n.count + i)];
    p_sum[i] = static_cast<T>(sum / static_cast<double>(n.heads));
  }
  if (d_o == nullptr) return;
  std::vector<double> ds = p;
  for (int64_t h = 0; h < n.heads; ++h) {
    const T* do_h = d_o + h * n.rc;
    const double delta = Dot(do_h, o + h * n.rc, n.rc);
    for (int64_t i = 0; i < n.count; ++i)
      ds[static_cast<size_t>(h * n.count + i)] *= n.scale * (Dot(do_h, row(i), n.rc) - delta);
    for (int64_t c = 0; c < width; ++c) {
      double sum = 0;
      for (int64_t i = 0; i < n.count; ++i) sum += ds[static_cast<size_t>(h * n.count + i)] * row(i)[c];
      dq[h * width + c] = static_cast<T>(sum);
    }
  }
  for (int64_t i = 0; i < n.count; ++i)
    for (int64_t c = 0; c < width; ++c) {
      double sum = 0;
      for (int64_t h = 0; h < n.heads; ++h) {
        const auto at = static_cast<size_t>(h * n.count + i);
        sum += ds[at] * q[h * width + c] + (c < n.rc ? p[at] * d_o[h * n.rc + c] : 0.0);
      }
      Add(d_row(i)[c], sum);
    }
}

// ---- indexer, one query ------------------------------------------------------------------------------------

struct IndexShape {
  int64_t heads, dim, count;
};

inline double Relu(double x) { return x < 0 ? 0 : x; }  // NaN stays NaN

// I_i = sum_j w_j relu(q_j . k_i)
template <class T>
double IndexScore(const IndexShape& n, const T* q, const T* weights, const T* key) {
  double sum = 0;
  for (int64_t j = 0; j < n.heads; ++j) sum += weights[j] * Relu(Dot(q + j * n.dim, key, n.dim));
  return sum;
}

// KL(p || softmax(I)); p = 0 counts 0.
template <class T, class Key>
double IndexKl(const IndexShape& n, const T* q, const T* weights, Key key, const T* p) {
  std::vector<double> scores(static_cast<size_t>(n.count));
  for (int64_t i = 0; i < n.count; ++i) scores[static_cast<size_t>(i)] = IndexScore(n, q, weights, key(i));
  const double total = LogSumExp(n.count, [&](int64_t i) { return scores[static_cast<size_t>(i)]; });
  double loss = 0;
  for (int64_t i = 0; i < n.count; ++i)
    if (p[i] != 0) loss += p[i] * (std::log(double{p[i]}) - scores[static_cast<size_t>(i)] + total);
  return loss;
}

// dI = (softmax(I) - p) weight; dw_j = sum_i dI relu(q_j . k_i), dq_j = w_j sum_i dI [q_j . k_i > 0] k_i,
// dk_i += sum_j dI w_j [q_j . k_i > 0] q_j
template <class T, class Key, class DKey>
void IndexKlGrad(const IndexShape& n, const T* q, const T* weights, Key key, const T* p, float weight, T* dq,
                 T* dweights, DKey d_key) {
  std::vector<double> d_score(static_cast<size_t>(n.count));
  for (int64_t i = 0; i < n.count; ++i) d_score[static_cast<size_t>(i)] = IndexScore(n, q, weights, key(i));
  const double total = LogSumExp(n.count, [&](int64_t i) { return d_score[static_cast<size_t>(i)]; });
  for (int64_t i = 0; i < n.count; ++i) {
    double& d = d_score[static_cast<size_t>(i)];
    d = (std::exp(d - total) - p[i]) * weight;
  }
  const auto active = [&](int64_t j, int64_t i) { return Dot(q + j * n.dim, key(i), n.dim) > 0 ? 1.0 : 0.0; };
  for (int64_t j = 0; j < n.heads; ++j) {
    double sum = 0;
    std::vector<double> sums(static_cast<size_t>(n.dim));
    for (int64_t i = 0; i < n.count; ++i) {
      const double d = d_score[static_cast<size_t>(i)], d_dot = d * weights[j] * active(j, i);
      sum += d * Relu(Dot(q + j * n.dim, key(i), n.dim));
      for (int64_t c = 0; c < n.dim; ++c) sums[static_cast<size_t>(c)] += d_dot * key(i)[c];
    }
    dweights[j] = static_cast<T>(sum);
    for (int64_t c = 0; c < n.dim; ++c) dq[j * n.dim + c] = static_cast<T>(sums[static_cast<size_t>(c)]);
  }
  for (int64_t i = 0; i < n.count; ++i) {
    std::vector<double> sums(static_cast<size_t>(n.dim));
    for (int64_t j = 0; j < n.heads; ++j)
      for (int64_t c = 0; c < n.dim; ++c)
        sums[static_cast<size_t>(c)] += d_score[static_cast<size_t>(i)] * weights[j] * active(j, i) * q[j * n.dim + c];
    for (int64_t c = 0; c < n.dim; ++c) Add(d_key(i)[c], sums[static_cast<size_t>(c)]);
  }
}

}  // namespace minke::plain
