# Cross build for 64-bit Arm with Debian's compiler: cmake --preset aarch64. Programs are linked statically, so that
# qemu-aarch64-static runs them without a system root; QEMU_CPU chooses the processor it plays.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static)
# Packages with headers only (nlohmann-json, expected) are those of the build machine.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
# fmt has a library too, so its description lies with the build machine's; its header-only target is the one used.
file(GLOB fmt_DIR /usr/lib/*-linux-gnu/cmake/fmt)
