#include "minke/engine/random_rows.h"

#include <algorithm>

#include "minke/base/check.h"
#include "minke/base/rng.h"

namespace minke {

void FillWithRandomRows(const PageTable& table, const CacheLayout& layout, int64_t begin, int64_t end, uint64_t seed,
                        ThreadPool& pool) {
  const int64_t first = begin / kPageTokens, pages = PagePool::PagesFor(end), floats = layout.page_floats();
  MINKE_CHECK(pages <= table.size());
  pool.ForRanges(std::max<int64_t>(pages - first, 0), 1, [&](int64_t from, int64_t to, int) {
    for (int64_t page = first + from; page < first + to; ++page) {
      const Philox random(seed, static_cast<uint64_t>(page));
      float* rows = table.pages()[static_cast<size_t>(page)];
      for (int64_t i = 0; i < floats; i += 4) {
        const auto words = random.Block(static_cast<uint64_t>(i));
        for (int64_t j = 0; j < std::min<int64_t>(4, floats - i); ++j)  // uniform in +-1.7: a variance of one
          rows[i + j] = static_cast<float>(static_cast<double>(words[static_cast<size_t>(j)]) * 0x1.0p-32 * 3.4 - 1.7);
      }
    }
  });
}

}  // namespace minke
