#include "minke/base/page_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace minke {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

Result<PageMemory> PageMemory::Take(int64_t bytes, HugePages huge_pages) {
  PageMemory memory;
  const bool reserved = huge_pages == HugePages::kOn;
  const size_t whole = (static_cast<size_t>(bytes) + kHugePage - 1) / kHugePage * kHugePage;
  const size_t mapped = whole + (reserved ? 0 : kHugePage);  // room to align; reserved pages are aligned
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (reserved ? MAP_HUGETLB | MAP_POPULATE : MAP_NORESERVE);
  void* data = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (data == MAP_FAILED)
    return Fail(Code::kNoMemory, "{} MiB of memory{} cannot be had: {}", whole >> 20,
                reserved ? " in reserved huge pages" : "",
                reserved ? "raise vm.nr_hugepages or leave --huge-pages out" : std::strerror(errno));
  memory.mapping_ = data;
  memory.mapped_bytes_ = mapped;
  const auto address = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) / kHugePage * kHugePage;
  memory.data_ = reinterpret_cast<std::byte*>(address);
  if (!reserved)
    static_cast<void>(::madvise(memory.data_, whole, huge_pages == HugePages::kAuto ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
  return memory;
}

PageMemory::~PageMemory() {
  if (mapping_) ::munmap(mapping_, mapped_bytes_);
}

}  // namespace minke
