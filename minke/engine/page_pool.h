// Owner of the cache's memory: equal pages in one mapping that the kernel commits when they are first
// written. A PageTable leases pages for one sequence and gives them back when it goes. Nothing is cleared on
// reuse: a sequence reads only rows it has written. Not thread-safe: the engine's worker alone uses both.
//
// Every page carries the number of tables that hold it. Today that is 0 or 1; a prefix cache shares a page by
// holding one more reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "minke/base/result.h"
#include "minke/model/cache_view.h"

namespace minke {

class PagePool {
 public:
  // kPoison fills every leased page with NaN, so that reading a row nobody wrote shows (tests).
  enum class Fill { kNone, kPoison };

  // Errors: kInvalidArgument for a layout without rows or no page, kNoMemory with the numbers.
  static Result<std::unique_ptr<PagePool>> Create(const CacheLayout& layout, int64_t num_pages,
                                                  Fill fill = Fill::kNone);
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  static int64_t PagesFor(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

  int64_t num_pages() const { return static_cast<int64_t>(references_.size()); }
  int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }
  int64_t used_pages() const { return num_pages() - free_pages(); }
  int64_t page_bytes() const { return page_floats_ * static_cast<int64_t>(sizeof(float)); }

 private:
  friend class PageTable;
  PagePool(float* memory, int64_t page_floats, int64_t num_pages, Fill fill);
  float* Take();
  void Return(float* page);

  float* memory_;  // [num_pages, page_floats]
  int64_t page_floats_;
  Fill fill_;
  std::vector<uint32_t> references_;  // [num_pages]
  std::vector<int64_t> free_;         // a stack: the page returned last is warm and goes out first
};

// The lease of one sequence. pages()[i] holds its positions [i * kPageTokens, (i + 1) * kPageTokens).
class PageTable {
 public:
  // `most_pages` is what the sequence can ever need; growing up to it allocates nothing.
  PageTable(PagePool& pool, int64_t most_pages);
  ~PageTable() { Clear(); }
  PageTable(PageTable&& other) noexcept;
  PageTable& operator=(PageTable&& other) noexcept;

  // Leases pages until there are `num_pages`. kNoMemory with the numbers, and no change, when the pool has
  // too few.
  Status Grow(int64_t num_pages);
  void Clear();

  int64_t size() const { return static_cast<int64_t>(pages_.size()); }
  std::span<float* const> pages() const { return pages_; }

 private:
  PagePool* pool_;
  std::vector<float*> pages_;
};

}  // namespace minke
