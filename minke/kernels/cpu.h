// What this CPU and its operating system can run. Each answer is found once.
#pragma once

#include <cstdint>

namespace minke {

// The words that decide, so that tests can make some up.
struct X86Features {
  uint32_t leaf1_ecx = 0;
  uint32_t leaf7_ebx = 0, leaf7_ecx = 0;
  uint32_t extended1_ecx = 0;
  uint64_t xcr0 = 0;  // register state that the operating system saves; 0 without OSXSAVE
};
X86Features ReadX86Features();  // all zero on another architecture

bool HasX86V2(const X86Features& f);
bool HasX86V3(const X86Features& f);
bool HasX86V4(const X86Features& f);
bool HasAvx512Vnni(const X86Features& f);  // v4 with VNNI and VBMI

bool CpuHasSse42();
bool CpuHasAvx2();
bool CpuHasAvx512();
bool CpuHasAvx512Vnni();
bool CpuHasNeon();
bool CpuHasNeonDotprod();  // dot product and half floats

}  // namespace minke
