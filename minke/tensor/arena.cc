#include "minke/tensor/arena.h"

#include <new>

namespace minke {

Arena::Arena(size_t bytes)
    : memory_(static_cast<std::byte*>(::operator new(bytes, std::align_val_t{kAlign}))), capacity_(bytes) {}

void Arena::Free::operator()(std::byte* p) const { ::operator delete(p, std::align_val_t{kAlign}); }

}  // namespace minke
