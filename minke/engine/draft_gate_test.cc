#include "minke/engine/draft_gate.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

struct Kind {
  int64_t tokens;
  double seconds;
};

// Steps that take what `plain` and `drafted` say; returns how many of them drafted.
int64_t Steps(DraftGate& gate, int64_t steps, int64_t sequences, Kind plain, Kind drafted) {
  int64_t count = 0;
  for (int64_t i = 0; i < steps; ++i) {
    const bool drafts = gate.IsOpen(sequences);
    const Kind& kind = drafts ? drafted : plain;
    gate.Report(sequences, drafts, kind.tokens, kind.seconds);
    count += drafts;
  }
  return count;
}

constexpr Kind kPlain{1, 1.0}, kPays{2, 1.5}, kDoesNotPay{2, 2.5};

TEST(DraftGate, DraftsWhileTheyPay) {
  DraftGate gate;
  EXPECT_TRUE(gate.IsOpen(1));
  EXPECT_GT(Steps(gate, 1000, 1, kPlain, kPays), 950);
  EXPECT_GT(Steps(gate, 10000, 1, kPlain, kPays), 9900);
}

TEST(DraftGate, StopsWhenTheyDoNotAndTriesAgainMoreAndMoreRarely) {
  DraftGate gate;
  EXPECT_EQ(Steps(gate, DraftGate::kFirstStay, 1, kPlain, kDoesNotPay), DraftGate::kFirstStay);
  EXPECT_EQ(Steps(gate, DraftGate::kTrialSteps, 1, kPlain, kDoesNotPay), 0);
  EXPECT_FALSE(gate.IsOpen(1));
  const int64_t early = Steps(gate, 1000, 1, kPlain, kDoesNotPay), late = Steps(gate, 10000, 1, kPlain, kDoesNotPay);
  EXPECT_GE(early, 2 * DraftGate::kTrialSteps);
  EXPECT_LE(early, 5 * DraftGate::kTrialSteps);
  EXPECT_GE(late, 2 * DraftGate::kTrialSteps);
  EXPECT_LE(late, 6 * DraftGate::kTrialSteps);
}

TEST(DraftGate, NoticesWhenTheAnswerChanges) {
  DraftGate gate;
  Steps(gate, 20000, 1, kPlain, kPays);
  EXPECT_LE(Steps(gate, 20000, 1, kPlain, kDoesNotPay), DraftGate::kLongestStay + 1000);
  EXPECT_FALSE(gate.IsOpen(1));
  EXPECT_GE(Steps(gate, 20000, 1, kPlain, kPays), 20000 - DraftGate::kLongestStay - 1000);
  EXPECT_TRUE(gate.IsOpen(1));
}

TEST(DraftGate, JudgesCrowdsOfDifferentSizeApart) {
  DraftGate gate;
  for (int round = 0; round < 300; ++round) {  // not the moment of a trial
    Steps(gate, 1, 1, kPlain, kPays);
    Steps(gate, 1, 12, {12, 3}, {22, 7});
    Steps(gate, 1, 1 << 20, kPlain, kPays);  // more than anybody runs
  }
  EXPECT_TRUE(gate.IsOpen(1));
  EXPECT_FALSE(gate.IsOpen(12));
  EXPECT_FALSE(gate.IsOpen(8));
  EXPECT_TRUE(gate.IsOpen(7));
  EXPECT_TRUE(gate.IsOpen(1 << 20));
}

TEST(DraftGate, AnInterruptionDecidesNothing) {
  DraftGate gate;
  int64_t drafted = 0;
  for (int64_t step = 0; step < 5000; ++step) {
    const bool drafts = gate.IsOpen(1);
    drafted += drafts;
    const double wait = drafts && step % 10 == 0 ? 1000 : 0;  // another process had the core
    gate.Report(1, drafts, drafts ? 2 : 1, wait + (drafts ? 1.5 : 1));
  }
  EXPECT_GT(drafted, 4500);
}

TEST(DraftGate, StepsOfTheOtherKindDoNotCount) {
  DraftGate gate;
  for (int64_t i = 0; i < 10 * DraftGate::kFirstStay; ++i) gate.Report(1, /*drafted=*/false, 1, 1);
  EXPECT_EQ(Steps(gate, DraftGate::kFirstStay, 1, kPlain, kPays), DraftGate::kFirstStay);
  EXPECT_FALSE(gate.IsOpen(1));  // only now the first trial
}

}  // namespace
}  // namespace minke
