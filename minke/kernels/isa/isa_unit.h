// First include of every ISA unit. Such a unit is compiled with newer flags than the rest, so it must not
// emit anything that the linker could share with others: no standard containers or algorithms, no inline
// members of our own types, everything in the unit's unnamed namespace (tests/no_isa_leak_test.py checks).
#pragma once

#include <cstdint>

#include "minke/kernels/cpu.h"
#include "minke/kernels/isa/isa_sets.h"
#include "minke/kernels/kernel_table.h"

#define MINKE_INLINE inline __attribute__((always_inline))

// Before a loop over registers: g++ 12 keeps an array in registers only if every loop over it is unrolled early.
#ifdef __clang__
#define MINKE_UNROLL
#else
#define MINKE_UNROLL _Pragma("GCC unroll 16")
#endif
