#include "minke/cli/signals.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

namespace minke {
namespace {

// Lock-free atomics are safe in a handler and visible to the engine's thread.
std::atomic<int> guards{0}, raised{0}, last_signal{SIGINT};
static_assert(std::atomic<int>::is_always_lock_free);

void Handle(int signal) {
  last_signal = signal;
  if (guards > 0 && raised.fetch_add(1) == 0) return;
  ::_exit(128 + signal);
}

}  // namespace

void InstallSignals() {
  struct sigaction action = {};
  action.sa_handler = Handle;  // no SA_RESTART: a blocked read returns, so that chat can react
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

SignalGuard::SignalGuard() {
  raised = 0;
  ++guards;
}
SignalGuard::~SignalGuard() { --guards; }
bool SignalGuard::Raised() { return raised > 0; }
bool SignalGuard::Terminated() { return raised > 0 && last_signal == SIGTERM; }
void SignalGuard::Reset() { raised = 0; }

int SignalExitCode() { return 128 + last_signal; }

}  // namespace minke
