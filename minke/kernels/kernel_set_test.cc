#include "minke/kernels/kernel_set.h"

#include <gtest/gtest.h>

#include "minke/kernels/cpu.h"

namespace minke {
namespace {

TEST(KernelSets, TheBestComesFirstAndTheReferenceLast) {
  EXPECT_STREQ(AllKernelSets().back().name, "reference");
  EXPECT_TRUE(AllKernelSets().back().supported());
  const auto best = ChooseKernelSet("");
  ASSERT_TRUE(best);
  EXPECT_TRUE((*best)->supported());
  for (const KernelSet& set : AllKernelSets()) {
    const auto chosen = ChooseKernelSet(set.name);
    if (set.supported()) {
      ASSERT_TRUE(chosen) << set.name;
      EXPECT_EQ(*chosen, &set);
    } else {
      ASSERT_FALSE(chosen) << set.name;
      EXPECT_EQ(chosen.error().code, Code::kUnsupported);
    }
  }
}

TEST(KernelSets, AnUnknownNameListsTheKnownOnes) {
  const auto chosen = ChooseKernelSet("avx9000");
  ASSERT_FALSE(chosen);
  EXPECT_EQ(chosen.error().code, Code::kInvalidArgument);
  EXPECT_NE(chosen.error().message.find("avx9000"), std::string::npos);
  for (const KernelSet& set : AllKernelSets())
    EXPECT_NE(chosen.error().message.find(set.name), std::string::npos) << chosen.error().message;
}

// A CPU with everything, under operating systems that save less and less.
TEST(X86Features, NeedTheOperatingSystemToSaveTheRegisters) {
  X86Features f;
  f.leaf1_ecx = f.leaf7_ebx = f.leaf7_ecx = f.extended1_ecx = ~uint32_t{0};
  f.xcr0 = 0xE7;
  EXPECT_TRUE(HasX86V2(f) && HasX86V3(f) && HasX86V4(f) && HasAvx512Vnni(f));
  f.xcr0 = 0x07;  // no ZMM state
  EXPECT_TRUE(HasX86V3(f));
  EXPECT_FALSE(HasX86V4(f));
  EXPECT_FALSE(HasAvx512Vnni(f));
  f.xcr0 = 0x03;  // no YMM state
  EXPECT_TRUE(HasX86V2(f));
  EXPECT_FALSE(HasX86V3(f));
  f.xcr0 = 0xE7;
  EXPECT_FALSE(HasX86V2(X86Features{}));
}

TEST(X86Features, TheVnniSetNeedsVnniAndVbmiAndNoBF16) {
  X86Features f;
  f.leaf1_ecx = f.leaf7_ebx = f.extended1_ecx = ~uint32_t{0};
  f.xcr0 = 0xE7;
  constexpr uint32_t kVbmi = 1 << 1, kVnni = 1 << 11;
  f.leaf7_ecx = kVbmi | kVnni;  // Ice Lake, which has no BF16
  EXPECT_TRUE(HasAvx512Vnni(f));
  for (const uint32_t lacking : {0u, kVbmi, kVnni}) {  // Skylake-SP; Cannon Lake; Cascade Lake and Cooper Lake
    f.leaf7_ecx = lacking;
    EXPECT_TRUE(HasX86V4(f));
    EXPECT_FALSE(HasAvx512Vnni(f)) << lacking;
  }
  for (const KernelSet& set : AllKernelSets()) EXPECT_EQ(std::string(set.description).find("BF16"), std::string::npos);
}

}  // namespace
}  // namespace minke
