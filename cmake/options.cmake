# Flags that every unit gets. Only minke/kernels/isa/ adds -m flags, to its own units.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG -g1")
# For the sanitizers: fast enough to run the models, with MINKE_DCHECK on.
set(CMAKE_CXX_FLAGS_SANITIZE "-O1 -g1")

# Used where they are installed; nothing depends on them.
find_program(MINKE_CCACHE ccache)
if(MINKE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${MINKE_CCACHE})
endif()
find_program(MINKE_MOLD mold)
if(MINKE_MOLD AND NOT CMAKE_CROSSCOMPILING)
  add_link_options(-fuse-ld=mold)
endif()

# A fused multiply-add is written out where it is meant: the same bits from both compilers.
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror
                    -ffp-contract=off -fno-math-errno)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_compile_options(-march=x86-64-v2)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64")
  add_compile_options(-march=armv8-a)
endif()
if(MINKE_SANITIZE)
  add_compile_options(-fsanitize=${MINKE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${MINKE_SANITIZE})
endif()
if(MINKE_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "MINKE_FUZZ needs clang: cmake --preset asan")
  endif()
  # Coverage feedback in the rooms, but no main(): the fuzz programs link that.
  add_compile_options(-fsanitize=fuzzer-no-link)
  add_link_options(-fsanitize=fuzzer-no-link)
endif()
include_directories(${CMAKE_SOURCE_DIR})
