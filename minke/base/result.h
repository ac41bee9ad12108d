// Errors are values. Result<T> is a T or an Error; Status is a Result without a value.
// Every door (file, request, config, model output) returns one; asserts are for our own bugs (check.h).
#pragma once

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace minke {

// One to one with the exit code of the program and, in the server, with an HTTP status.
enum class Code {
  kFailed = 1,           // failed while running
  kInvalidArgument = 2,  // wrong use
  kNotFound = 3,         // model or file not found
  kDamaged = 4,          // model or file damaged
  kUnsupported = 5,      // architecture, dtype or CPU not supported here
  kNoMemory = 6,         // does not fit in memory
  kCannotListen = 7,
  kNetwork = 8,
  kBelowScore = 9,
  kCannotResume = 10,
  kCancelled = 130,
};

constexpr int ExitCode(Code code) { return static_cast<int>(code); }

// One line: what was found, what was expected, where, and what to do.
struct Error {
  Code code = Code::kFailed;
  std::string message;
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

template <class... Args>
tl::unexpected<Error> Fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

inline tl::unexpected<Error> Fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

}  // namespace minke

#define MINKE_CONCAT_INNER(a, b) a##b
#define MINKE_CONCAT(a, b) MINKE_CONCAT_INNER(a, b)

// MINKE_ASSIGN(auto file, MappedFile::Open(path));  returns the error from the enclosing function.
#define MINKE_ASSIGN(declaration, expression) \
  MINKE_ASSIGN_INNER(MINKE_CONCAT(minke_result_, __LINE__), declaration, expression)
#define MINKE_ASSIGN_INNER(result, declaration, expression)                        \
  auto result = (expression);                                                      \
  if (!result) return ::tl::unexpected<::minke::Error>(std::move(result.error())); \
  declaration = std::move(*result)

// MINKE_TRY(Validate(config));  for a Status.
#define MINKE_TRY(expression)                                                   \
  do {                                                                          \
    if (auto minke_status = (expression); !minke_status)                        \
      return ::tl::unexpected<::minke::Error>(std::move(minke_status.error())); \
  } while (false)
