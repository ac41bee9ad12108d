#include <algorithm>

#include "minke/kernels/kernels_testing.h"
#include "minke/kernels/pack_row.h"

namespace minke {
namespace {

// A probability is off by the error of its score (spacing * sqrt(width) of sum |q k| scale, here below 4) and of exp;
// an output is a mean of values below 1 with such weights.
constexpr double kBound = 64 * kSpacing;

struct Latents {
  std::vector<float> values;
  std::vector<float*> pages;
  PagedRows rows;
  Latents(const std::vector<float>& v, int64_t rc, int64_t dr, int64_t page_tokens, RowFormat format = RowFormat::kF32) {
    const int64_t width = RowFloats(format, rc, dr), count = static_cast<int64_t>(v.size()) / (rc + dr);
    values.resize(static_cast<size_t>(count * width));
    for (int64_t i = 0; i < count; ++i)
      PackLatent(Reference(), format, v.data() + i * (rc + dr), rc, dr, values.data() + i * width);
    const int64_t num_pages = count / page_tokens;
    for (int64_t i = 0; i < num_pages; ++i)
      pages.push_back(values.data() + (num_pages - 1 - i) * page_tokens * width);  // backwards
    rows = {.pages = pages.data(), .offset = 0, .width = width, .page_tokens = page_tokens, .format = format};
  }
};

constexpr RowFormat kAllFormats[] = {RowFormat::kF32, RowFormat::kBF16, RowFormat::kFp8, RowFormat::kInt8};

struct LatentCase {
  int64_t heads, rc, dr, count;
  bool gathered;
  Kind kind = Kind::kNormal;
  RowFormat format = RowFormat::kF32;
};

// kInt8 rounds each weight to half a step, 1 / 16256 of the largest of its block, which is at most the sum of all.
double LatentBound(const LatentCase& c) {
  const double weights = c.format == RowFormat::kInt8 ? static_cast<double>(c.count) * 0.5 / 16256 : 0;
  return (kBound + weights) * (c.kind == Kind::kHuge ? 1e17 : 1.0);
}

void CheckAttendLatent(const LatentCase& c, Random& random) {
  SCOPED_TRACE(
      fmt::format("heads {} rc {} dr {} count {} kind {} format {}", c.heads, c.rc, c.dr,
                           c.count, static_cast<int>(c.kind), static_cast<int>(c.format)));
  const int64_t width = c.rc + c.dr, total = (c.gathered ? 3 : 1) * c.count;
  const Latents latents(random.Floats((total / 16 + 1) * 16 * width, c.kind), c.rc, c.dr, 16, c.format);
  std::vector<int32_t> positions;
  for (int32_t i = 0; i < total && static_cast<int64_t>(positions.size()) < c.count; ++i)
    if (!c.gathered || total - i == c.count - static_cast<int64_t>(positions.size()) || random.Below(3) == 0)
      positions.push_back(i);
  const std::vector<float> q = random.Floats(c.heads * width, c.kind == Kind::kHuge ? Kind::kNormal : c.kind);
  const float scale = c.kind == Kind::kHuge ? 1e-17f : 1.0f / std::sqrt(static_cast<float>(width));
  CompareSets(
      [&](const KernelSet& set) {
        const auto run = [&](int64_t begin, int64_t end, float* o) {
          std::vector<float> scratch(static_cast<size_t>(AttendLatentScratch(c.format, end - begin, c.rc, c.dr)), -3.0f);
          set.attend_latent(q.data() + begin * width, end - begin, c.rc, c.dr, latents.rows,
                            c.gathered ? positions.data() : nullptr, c.count, scale, o + begin * c.rc, scratch.data());
        };
        std::vector<float> whole(static_cast<size_t>(c.heads * c.rc), std::numeric_limits<float>::quiet_NaN());
        std::vector<float> cut = whole;
        run(0, c.heads, whole.data());
        const int64_t middle = random.Below(c.heads + 1);
        run(0, middle, cut.data());
        run(middle, c.heads, cut.data());
        ExpectSameBits(cut, whole);
        return whole;
      },
      [&](size_t) { return LatentBound(c); });
}

TEST(AttendLatent, AllSetsAgreeOnEveryShape) {
  Random random(1);
  for (int64_t i = 1; i <= 257; i += 3) {
    CheckAttendLatent({1 + i % 9, i, 2 * (i % 20), 1 + i % 90, i % 2 == 0}, random);
    CheckAttendLatent({5, 1 + i % 70, 4, i, i % 2 == 1}, random);
    if (testing::Test::HasFatalFailure()) return;
  }
  CheckAttendLatent({10, 512, 64, 200, true}, random);
  CheckAttendLatent({4, 512, 64, 64, false}, random);
}

TEST(AttendLatent, AllSetsAgreeOnEveryRowFormat) {
  Random random(5);
  for (const RowFormat format : kAllFormats) {
    for (int64_t i = 1; i <= 257; i += 19)
      CheckAttendLatent({1 + i % 37, i, 2 * (i % 9), 1 + i % 150, i % 2 == 0, Kind::kNormal, format}, random);
    CheckAttendLatent({20, 512, 64, 290, true, Kind::kNormal, format}, random);
    for (const Kind kind : kAllKinds) CheckAttendLatent({6, 140, 8, 100, true, kind, format}, random);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(AttendLatent, AllSetsAgreeOnEveryKindOfNumber) {
  Random random(2);
  for (const Kind kind : kAllKinds) {
    CheckAttendLatent({6, 40, 8, 100, true, kind}, random);
    CheckAttendLatent({3, 64, 16, 30, false, kind}, random);
  }
}

TEST(AttendLatent, NothingSelectedGivesZeros) {
  Random random(3);
  const Latents latents(random.Floats(16 * 24), 16, 8, 16);
  const std::vector<float> q = random.Floats(2 * 24);
  ForEachSet([&](const KernelSet& set) {
    std::vector<float> o(32, 5.0f), scratch(static_cast<size_t>(AttendLatentScratch(RowFormat::kF32, 2, 16, 8)));
    set.attend_latent(q.data(), 2, 16, 8, latents.rows, nullptr, 0, 1.0f, o.data(), scratch.data());
    EXPECT_EQ(o, std::vector<float>(32, 0.0f));
  });
}

TEST(AttendLatent, ScoresFarBelowTheMaximumCountForNothing) {
  // Row 70 has a score 200 above all others: its values come out exactly.
  const int64_t width = 24;
  std::vector<float> values(static_cast<size_t>(128 * width), 1.0f);
  std::vector<float> q(static_cast<size_t>(width), 0.0f);
  q[20] = 1.0f;
  values[70 * width + 20] = 201.0f;
  for (int64_t c = 0; c < 16; ++c) values[static_cast<size_t>(70 * width + c)] = static_cast<float>(c);
  const Latents latents(values, 16, 8, 128);
  ForEachSet([&](const KernelSet& set) {
    std::vector<float> o(16), scratch(static_cast<size_t>(AttendLatentScratch(RowFormat::kF32, 1, 16, 8)));
    set.attend_latent(q.data(), 1, 16, 8, latents.rows, nullptr, 128, 1.0f, o.data(), scratch.data());
    for (int64_t c = 0; c < 16; ++c) EXPECT_EQ(o[static_cast<size_t>(c)], static_cast<float>(c));
  });
}

void CheckAttendExpanded(int64_t dk, int64_t dv, int64_t count, Kind kind, Random& random) {
  SCOPED_TRACE(fmt::format("dk {} dv {} count {} kind {}", dk, dv, count, static_cast<int>(kind)));
  const std::vector<float> q = random.Floats(dk, kind == Kind::kHuge ? Kind::kNormal : kind);
  const std::vector<float> k = random.Floats(count * (dk + 3), kind), v = random.Floats(count * (dv + 2), kind);
  const float scale = kind == Kind::kHuge ? 1e-17f : 1.0f / std::sqrt(static_cast<float>(dk));
  const auto run = [&](const KernelSet& set, int64_t tile) {
    std::vector<float> o(static_cast<size_t>(dv), 0.0f);
    float m = -std::numeric_limits<float>::infinity(), l = 0;
    for (int64_t s = 0; s < count; s += tile)
      set.attend_expanded(q.data(), k.data() + s * (dk + 3), dk + 3, v.data() + s * (dv + 2), dv + 2,
                          std::min(tile, count - s), dk, dv, scale, &m, &l, o.data());
    for (float& x : o) x /= l;
    return o;
  };
  CompareSets(
      [&](const KernelSet& set) {
        const std::vector<float> o = run(set, 64);
        if (!IsReference(set)) ExpectSameBits(run(set, 192), o);  // tiles of whole blocks of 64
        return o;
      },
      [&](size_t) { return kBound * (kind == Kind::kHuge ? 1e17 : 1.0); });
}

TEST(AttendExpanded, AllSetsAgreeOnEveryShapeAndKind) {
  Random random(4);
  for (int64_t i = 1; i <= 257; i += 2) {
    CheckAttendExpanded(i, 1 + i % 130, 1 + i % 200, Kind::kNormal, random);
    if (testing::Test::HasFatalFailure()) return;
  }
  for (const Kind kind : kAllKinds) CheckAttendExpanded(192, 128, 300, kind, random);
}

}  // namespace
}  // namespace minke
