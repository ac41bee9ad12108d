// SIGINT and SIGTERM. By default they end the program at once with 130 or 143; a verb that has something to put in
// order catches them for a while.
#pragma once

namespace minke {

void InstallSignals();

// While one lives, the first signal only sets Raised(); the next one ends the program at once.
class SignalGuard {
 public:
  SignalGuard();
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;
  static bool Raised();
  static bool Terminated();  // the last signal was SIGTERM, which asks for no second thought
  static void Reset();       // forget a signal that was dealt with
};

int SignalExitCode();  // 130 or 143, after the last signal; 130 without one

}  // namespace minke
