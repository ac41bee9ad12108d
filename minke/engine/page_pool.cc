#include "minke/engine/page_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "minke/base/check.h"

namespace minke {

Result<std::unique_ptr<PagePool>> PagePool::Create(const CacheLayout& layout, int64_t num_pages, Fill fill) {
  const int64_t page_floats = layout.page_floats();
  if (page_floats <= 0 || num_pages <= 0) {
    return Fail(Code::kInvalidArgument, "a cache needs pages: {} pages of {} floats were asked for", num_pages,
                page_floats);
  }
  const int64_t page_bytes = page_floats * static_cast<int64_t>(sizeof(float));
  if (num_pages > std::numeric_limits<int64_t>::max() / page_bytes) {
    return Fail(Code::kNoMemory, "cache of {} pages of {} bytes is beyond any memory", num_pages, page_bytes);
  }
  // Without MAP_NORESERVE a strict overcommit setting would charge the whole cache before the first token.
  void* memory = mmap(nullptr, static_cast<size_t>(num_pages * page_bytes), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return Fail(Code::kNoMemory, "cannot map a cache of {} pages of {} bytes ({:.2f} GiB): {}", num_pages, page_bytes,
                static_cast<double>(num_pages * page_bytes) / (1 << 30), std::strerror(errno));
  }
  // Small pages: MADV_HUGEPAGE gave 3 % at depths of 2K and 16K and took more than 10 % at 64K (INT8 rows, four turns).
  return std::unique_ptr<PagePool>(new PagePool(static_cast<float*>(memory), page_floats, num_pages, fill));
}

PagePool::PagePool(float* memory, int64_t page_floats, int64_t num_pages, Fill fill)
    : memory_(memory), page_floats_(page_floats), fill_(fill), references_(num_pages, 0) {
  free_.reserve(num_pages);
  for (int64_t page = num_pages; page-- > 0;) free_.push_back(page);
}

PagePool::~PagePool() {
  MINKE_CHECK(used_pages() == 0);  // a table that outlives its pool would write into nothing
  munmap(memory_, static_cast<size_t>(num_pages() * page_bytes()));
}

float* PagePool::Take() {
  MINKE_CHECK(!free_.empty());
  const int64_t page = free_.back();
  free_.pop_back();
  references_[page] = 1;
  float* rows = memory_ + page * page_floats_;
  if (fill_ == Fill::kPoison) std::fill_n(rows, page_floats_, std::numeric_limits<float>::quiet_NaN());
  return rows;
}

void PagePool::Return(float* rows) {
  const int64_t page = (rows - memory_) / page_floats_;
  MINKE_CHECK(references_[page] > 0);
  if (--references_[page] == 0) free_.push_back(page);
}

PageTable::PageTable(PagePool& pool, int64_t most_pages) : pool_(&pool) { pages_.reserve(most_pages); }

PageTable::PageTable(PageTable&& other) noexcept : pool_(other.pool_), pages_(std::exchange(other.pages_, {})) {}

PageTable& PageTable::operator=(PageTable&& other) noexcept {
  if (this == &other) return *this;
  Clear();
  pool_ = other.pool_;
  pages_ = std::exchange(other.pages_, {});
  return *this;
}

Status PageTable::Grow(int64_t num_pages) {
  const int64_t missing = num_pages - size();
  if (missing > pool_->free_pages()) {
    return Fail(Code::kNoMemory, "{} more cache pages are needed, {} of {} are free", missing, pool_->free_pages(),
                pool_->num_pages());
  }
  while (size() < num_pages) pages_.push_back(pool_->Take());
  return {};
}

void PageTable::Clear() {
  // Last page first: a sequence that comes back gets its pages in the same order.
  while (!pages_.empty()) {
    pool_->Return(pages_.back());
    pages_.pop_back();
  }
}

}  // namespace minke
