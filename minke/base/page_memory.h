// Large private memory in whole pages, huge ones where they can be had: a walk through weights on small pages spends a
// tenth of its time on page tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "minke/base/result.h"

namespace minke {

enum class HugePages {
  kAuto,  // the system is asked for transparent ones and may give small ones. Faster to walk, but slow to take on a
          // virtual machine whose host has taken free ones back (docs/performance.md)
  kOff,   // small pages
  kOn,    // of the ones that an administrator has reserved (vm.nr_hugepages); an error when they are too few
};

class PageMemory {
 public:
  PageMemory() = default;
  // At least `bytes`, zeros, aligned to 2 MiB; pages come when they are first written, kOn's at once. Errors:
  // kNoMemory.
  static Result<PageMemory> Take(int64_t bytes, HugePages huge_pages);
  PageMemory(PageMemory&& other) noexcept
      : mapping_(std::exchange(other.mapping_, nullptr)),
        mapped_bytes_(std::exchange(other.mapped_bytes_, 0)),
        data_(std::exchange(other.data_, nullptr)) {}
  PageMemory& operator=(PageMemory&& other) noexcept {
    std::swap(mapping_, other.mapping_);
    std::swap(mapped_bytes_, other.mapped_bytes_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~PageMemory();

  std::byte* data() const { return data_; }

 private:
  void* mapping_ = nullptr;
  size_t mapped_bytes_ = 0;
  std::byte* data_ = nullptr;
};

}  // namespace minke
