#include "minke/kernels/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace minke {
namespace {

constexpr bool All(uint32_t word, uint32_t bits) { return (word & bits) == bits; }
constexpr uint32_t Bit(int i) { return uint32_t{1} << i; }

// XCR0: SSE and AVX state; then opmask and both parts of ZMM.
constexpr uint64_t kAvxState = 0x06, kAvx512State = 0xE6;

const X86Features& Here() {
  static const X86Features features = ReadX86Features();
  return features;
}

}  // namespace

X86Features ReadX86Features() {
  X86Features f;
#if defined(__x86_64__)
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) f.leaf1_ecx = ecx;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
    f.leaf7_ebx = ebx;
    f.leaf7_ecx = ecx;
  }
  if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx)) f.extended1_ecx = ecx;
  if (f.leaf1_ecx & Bit(27)) {  // OSXSAVE: without it XGETBV is an illegal instruction
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    f.xcr0 = (uint64_t{high} << 32) | low;
  }
#endif
  return f;
}

bool HasX86V2(const X86Features& f) {
  // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT; LAHF.
  return All(f.leaf1_ecx, Bit(0) | Bit(9) | Bit(13) | Bit(19) | Bit(20) | Bit(23)) && All(f.extended1_ecx, Bit(0));
}

bool HasX86V3(const X86Features& f) {
  // FMA, MOVBE, OSXSAVE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT.
  return HasX86V2(f) && All(f.leaf1_ecx, Bit(12) | Bit(22) | Bit(27) | Bit(28) | Bit(29)) &&
         All(f.leaf7_ebx, Bit(3) | Bit(5) | Bit(8)) && All(f.extended1_ecx, Bit(5)) &&
         (f.xcr0 & kAvxState) == kAvxState;
}

bool HasX86V4(const X86Features& f) {
  // AVX-512 F, DQ, CD, BW, VL.
  return HasX86V3(f) && All(f.leaf7_ebx, Bit(16) | Bit(17) | Bit(28) | Bit(30) | Bit(31)) &&
         (f.xcr0 & kAvx512State) == kAvx512State;
}

bool HasAvx512Vnni(const X86Features& f) {
  return HasX86V4(f) && All(f.leaf7_ecx, Bit(1) | Bit(11));  // VBMI, VNNI
}

bool CpuHasSse42() { return HasX86V2(Here()); }
bool CpuHasAvx2() { return HasX86V3(Here()); }
bool CpuHasAvx512() { return HasX86V4(Here()); }
bool CpuHasAvx512Vnni() { return HasAvx512Vnni(Here()); }

#if defined(__aarch64__)
bool CpuHasNeon() { return (getauxval(AT_HWCAP) & HWCAP_ASIMD) != 0; }
bool CpuHasNeonDotprod() {
  constexpr unsigned long kNeeded =
      HWCAP_ASIMD | HWCAP_ATOMICS | HWCAP_ASIMDRDM | HWCAP_ASIMDDP | HWCAP_FPHP | HWCAP_ASIMDHP;
  return (getauxval(AT_HWCAP) & kNeeded) == kNeeded;
}
#else
bool CpuHasNeon() { return false; }
bool CpuHasNeonDotprod() { return false; }
#endif

}  // namespace minke
