#include "minke/engine/random_rows.h"

#include <algorithm>
#include <vector>

#include "minke/base/check.h"
#include "minke/base/rng.h"
#include "minke/kernels/pack_row.h"

namespace minke {

void FillWithRandomRows(const PageTable& table, const CacheLayout& layout, int64_t begin, int64_t end, uint64_t seed,
                        const KernelSet& kernels, ThreadPool& pool) {
  const int64_t first = begin / kPageTokens, pages = PagePool::PagesFor(end);
  const int64_t rc = layout.kv_lora_rank, dr = layout.qk_rope_head_dim, dim = layout.index_head_dim;
  MINKE_CHECK(pages <= table.size());
  pool.ForRanges(std::max<int64_t>(pages - first, 0), 1, [&](int64_t from, int64_t to, int) {
    std::vector<float> row(static_cast<size_t>(std::max(rc + dr, dim) + 3));
    for (int64_t page = first + from; page < first + to; ++page) {
      const Philox random(seed, static_cast<uint64_t>(page));
      uint64_t block = 0;
      const auto draw = [&](int64_t n) {
        for (int64_t i = 0; i < n; i += 4) {
          const auto words = random.Block(block++);
          for (size_t j = 0; j < 4; ++j)  // uniform in +-1.7: a variance of one
            row[static_cast<size_t>(i) + j] = static_cast<float>(static_cast<double>(words[j]) * 0x1.0p-32 * 3.4 - 1.7);
        }
      };
      float* rows = table.pages()[static_cast<size_t>(page)];
      for (int64_t layer = 0; layer < layout.num_layers; ++layer)
        for (int64_t i = 0; i < kPageTokens; ++i) {
          draw(rc + dr);
          PackLatent(kernels, layout.formats.latents, row.data(), rc, dr,
                     rows + layout.latent_offset(layer) + i * layout.latent_width());
          if (dim == 0) continue;
          draw(dim);
          PackIndexKey(kernels, layout.formats.index_keys, row.data(), dim,
                       rows + layout.index_offset(layer) + i * layout.index_width());
        }
    }
  });
}

}  // namespace minke
