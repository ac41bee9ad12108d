// All sets with FMA give the same bits on every machine: the digest below is one number for x86 and Arm.
#include "minke/kernels/kernels_testing.h"
#include "minke/kernels/pack_row.h"

namespace minke {
namespace {

class Digest {  // FNV-1a over the bytes of floats
 public:
  void Add(const std::vector<float>& values) {
    for (const float v : values) {
      const uint32_t bits = std::bit_cast<uint32_t>(v);
      for (int shift = 0; shift < 32; shift += 8) value_ = (value_ ^ ((bits >> shift) & 255)) * 0x100000001B3u;
    }
  }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xCBF29CE484222325u;
};

void AddGradients(const KernelSet& set, Digest& digest) {
  Random random(2025);
  const TestWeights w = MakeWeights(DType::kF32, 20, 75, random);
  const std::vector<float> dy = random.Floats(600 * 20), x = random.Floats(600 * 75);
  std::vector<float> dw = random.Floats(20 * 75), dx = random.Floats(600 * 75);
  set.matmul_grad_weight(dy.data(), 20, x.data(), 75, 600, 75, 0, 20, dw.data(), 75);
  set.matmul_grad_input(dy.data(), 20, 600, w.view, 0, 75, dx.data(), 75);
  digest.Add(dw);
  digest.Add(dx);
  const std::vector<float> a = random.Floats(1000), b = random.Floats(1000), d = random.Floats(1000);
  std::vector<float> da = random.Floats(1000), db = random.Floats(1000), dc = random.Floats(1000);
  set.rms_norm_grad(a.data(), b.data(), d.data(), 1000, 1e-6f, da.data(), db.data());
  set.layer_norm_grad(a.data(), b.data(), d.data(), 1000, 1e-6f, da.data(), db.data(), dc.data());
  for (const auto* each : {&da, &db, &dc}) digest.Add(*each);
  set.silu_mul_grad(a.data(), b.data(), d.data(), 1000, da.data(), db.data(), dc.data());
  for (const auto* each : {&da, &db, &dc}) digest.Add(*each);
  for (float& v : dc) v *= v;
  set.adamw(da.data(), a.data(), db.data(), dc.data(), 1000, {0.1f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.5f, 0.5f, 0.7f});
  for (const auto* each : {&da, &db, &dc}) digest.Add(*each);
  digest.Add({set.cross_entropy_grad(da.data(), 1000, 7, 0.3f), static_cast<float>(set.sum_squares(a.data(), 999))});
  digest.Add(da);

  std::vector<float> rows = random.Floats(128 * 80), d_rows = random.Floats(128 * 80), p(100);
  float* page = rows.data();
  const std::vector<float> q = random.Floats(9 * 80), o = random.Floats(9 * 60), d_o = random.Floats(9 * 60);
  std::vector<float> dq(9 * 80), scratch(static_cast<size_t>(AttendLatentGradScratch(9, 60, 20, 100)));
  set.attend_latent_grad(q.data(), o.data(), d_o.data(), 9, 60, 20, {&page, 0, 80, 128}, nullptr, 100, 0.2f, dq.data(),
                         d_rows.data(), p.data(), scratch.data());
  for (const auto* each : {&dq, &d_rows, &p}) digest.Add(*each);
  scratch.resize(static_cast<size_t>(IndexGradScratch(9, 80, 100)));
  std::vector<float> dweights(9);
  digest.Add({set.index_kl_grad(q.data(), d_o.data(), 9, 80, {&page, 0, 80, 128}, nullptr, 100, p.data(), 0.6f,
                                dq.data(), dweights.data(), d_rows.data(), scratch.data())});
  for (const auto* each : {&dq, &d_rows, &dweights}) digest.Add(*each);
}

uint64_t DigestOf(const KernelSet& set) {
  Random random(2024);
  Digest digest;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3}) {
    const TestWeights w = MakeWeights(dtype, 20, 333, random);
    for (const int64_t rows : {1, 3, 30}) {
      std::vector<float> y(static_cast<size_t>(rows * 20)), z(static_cast<size_t>(rows * 333));
      set.matmul(random.Floats(rows * 333).data(), 333, rows, w.view, 0, 20, y.data(), 20);
      set.matmul_transposed(random.Floats(rows * 20).data(), 20, rows, w.view, 0, 333, z.data(), 333);
      digest.Add(y);
      digest.Add(z);
    }
  }
  for (const DType dtype : {DType::kQ8, DType::kQ6, DType::kQ4}) {
    const TestWeights tiles = MakeTiles(dtype, 20, 333, random);
    for (const int64_t rows : {1, 3, 30}) {
      std::vector<TileX> codes(static_cast<size_t>(rows * ColTiles(333)));
      const std::vector<float> values = random.Floats(rows * 333);
      for (int64_t m = 0; m < rows; ++m) set.quantize_x(values.data() + m * 333, 333, codes.data() + m * ColTiles(333));
      std::vector<float> y(static_cast<size_t>(rows * 20)), z(static_cast<size_t>(rows * 333));
      set.matmul_tiles(codes.data(), ColTiles(333), rows, tiles.view, 0, 20, y.data(), 20);
      set.matmul_transposed(random.Floats(rows * 20).data(), 20, rows, tiles.view, 0, 333, z.data(), 333);
      digest.Add(y);
      digest.Add(z);
    }
  }
  std::vector<float> x = random.Floats(1000), w = random.Floats(1000), b = random.Floats(1000), y(1000);
  set.rms_norm(x.data(), w.data(), 1000, 1e-6f, y.data());
  digest.Add(y);
  set.layer_norm(x.data(), w.data(), b.data(), 1000, 1e-6f, y.data());
  digest.Add(y);
  set.silu_mul(x.data(), w.data(), 1000, y.data());
  digest.Add(y);
  set.rope_interleaved(y.data(), w.data(), b.data(), 1000);
  set.rope_half_split(y.data(), w.data(), b.data(), 1000);
  set.axpy(0.3f, x.data(), 1000, y.data());
  digest.Add(y);
  for (float& v : y) v *= 30;
  digest.Add({set.log_sum_exp(y.data(), 1000)});
  set.softmax(y.data(), 1000);
  digest.Add(y);
  set.sigmoid(x.data(), 1000);
  digest.Add(x);

  std::vector<float> keys = random.Floats(128 * 100), scores(100), q = random.Floats(64 * 128);
  float* page = keys.data();
  const PagedRows rows = {.pages = &page, .offset = 0, .width = 128, .page_tokens = 128};
  set.index_scores(q.data(), w.data(), 64, 128, rows, 0, 100, scores.data());
  digest.Add(scores);
  std::vector<uint8_t> q_codes(64 * 128);
  float scale = 0;
  set.quantize_i8(q.data(), 64 * 128, q_codes.data(), &scale);
  std::vector<float> key_rows(33 * 100);
  for (int64_t s = 0; s < 100; ++s)
    set.quantize_i8(keys.data() + 128 * s, 128, reinterpret_cast<uint8_t*>(key_rows.data() + 33 * s),
                    key_rows.data() + 33 * s + 32);
  float* key_page = key_rows.data();
  set.index_scores_i8(q_codes.data(), w.data(), 64, 128, {&key_page, 0, 33, 128}, 0, 100, scores.data());
  digest.Add(scores);
  for (const RowFormat format : {RowFormat::kF32, RowFormat::kBF16, RowFormat::kFp8, RowFormat::kInt8}) {
    const int64_t width = RowFloats(format, 96, 32);
    std::vector<float> packed(static_cast<size_t>(100 * width)), o(10 * 96);
    for (int64_t s = 0; s < 100; ++s) PackLatent(set, format, keys.data() + 128 * s, 96, 32, packed.data() + width * s);
    std::vector<float> scratch(static_cast<size_t>(AttendLatentScratch(format, 10, 96, 32)));
    float* latents = packed.data();
    set.attend_latent(q.data(), 10, 96, 32, {&latents, 0, width, 128, format}, nullptr, 100, 0.1f, o.data(),
                      scratch.data());
    digest.Add(o);
  }
  for (const RowFormat format : {RowFormat::kBF16, RowFormat::kFp8}) {
    const int64_t width = RowFloats(format, 128, 0);
    std::vector<float> packed(static_cast<size_t>(100 * width));
    for (int64_t s = 0; s < 100; ++s) PackLatent(set, format, keys.data() + 128 * s, 128, 0, packed.data() + width * s);
    float* packed_page = packed.data();
    set.index_scores(q.data(), w.data(), 64, 128, {&packed_page, 0, width, 128, format}, 0, 100, scores.data());
    digest.Add(scores);
  }
  float m = -std::numeric_limits<float>::infinity(), l = 0;
  std::vector<float> expanded(40, 0.0f);
  set.attend_expanded(q.data(), keys.data(), 128, keys.data() + 50, 128, 90, 100, 40, 0.1f, &m, &l, expanded.data());
  digest.Add(expanded);
  digest.Add({m, l});
  AddGradients(set, digest);
  return digest.value();
}

TEST(SameBits, OnEveryMachineWithFma) {
  for (const KernelSet& set : AllKernelSets())
    if (set.supported() && HasFma(set)) {
      EXPECT_EQ(DigestOf(set), 1694046138646739288u) << set.name;
    }
}

}  // namespace
}  // namespace minke
