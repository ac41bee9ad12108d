// Broken invariants of our own. Nothing a user, a file or a model writes may reach one of these.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace minke {
[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "minke: internal error at %s:%d: %s\n", file, line, condition);
  std::abort();
}
}  // namespace minke

#define MINKE_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::minke::CheckFailed(__FILE__, __LINE__, #condition))

#ifdef NDEBUG
#define MINKE_DCHECK(condition) static_cast<void>(0)
#else
#define MINKE_DCHECK(condition) MINKE_CHECK(condition)
#endif
