# The libraries of other people, all from Debian 12. A cross build takes the header-only form of fmt and builds
# GoogleTest from its source package, because Debian has no libraries for the other machine beside the native ones.
find_package(Threads REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(tl-expected REQUIRED)
find_package(fmt REQUIRED)
# CLI11, toml++ (minke/train/config_file.cc) and Boost 1.81 (minke/base/http_*.cc: Asio, Beast) are headers only and need
# no target. OpenSSL's headers depend on the machine, so a cross build speaks http only.
if(NOT CMAKE_CROSSCOMPILING)
  find_package(OpenSSL REQUIRED)
endif()
if(CMAKE_CROSSCOMPILING)
  set(MINKE_FMT fmt::fmt-header-only)
else()
  set(MINKE_FMT fmt::fmt)
endif()

if(MINKE_TESTS AND CMAKE_CROSSCOMPILING)
  add_library(minke_gtest STATIC /usr/src/googletest/googletest/src/gtest-all.cc
              /usr/src/googletest/googletest/src/gtest_main.cc)
  target_include_directories(minke_gtest PRIVATE /usr/src/googletest/googletest)
  target_include_directories(minke_gtest SYSTEM PUBLIC /usr/src/googletest/googletest/include)
  target_compile_options(minke_gtest PRIVATE -w)
  target_link_libraries(minke_gtest PUBLIC Threads::Threads)
  add_library(minke_gtest_main ALIAS minke_gtest)
elseif(MINKE_TESTS)
  find_package(GTest REQUIRED)
  add_library(minke_gtest_main INTERFACE)
  target_link_libraries(minke_gtest_main INTERFACE GTest::gtest GTest::gtest_main)
endif()
if(MINKE_BENCH)
  find_package(benchmark REQUIRED)
endif()
