#include "minke/cli/command.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <thread>

#include "minke/cli/terminal.h"

namespace minke {
namespace {

// cgroup v2: "max 100000" or "quota period"; 0 when there is no limit.
int CgroupThreads() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (!(file >> quota >> period) || quota <= 0 || period <= 0) return 0;
  return std::max(1, static_cast<int>(quota / period + 0.5));
}

}  // namespace

void CliContext::Note(std::string_view text) const {
  if (!quiet) WriteStderr("minke: " + OneLine(text) + "\n");
}

void CliContext::Warn(std::string_view text) const { WriteStderr("minke: " + OneLine(text) + "\n"); }

int CliContext::ThreadCount() const {
  if (threads > 0) return threads;
  int count = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) count = CPU_COUNT(&set);
  if (const int limit = CgroupThreads(); limit > 0) count = std::min(count, limit);
  return std::clamp(count, 1, 256);
}

FlagSet AddVerb(FlagSet program, CliContext& context, const std::string& name, const std::string& description,
                std::function<Status()> run) {
  FlagSet verb = program.Verb(name, description);
  verb.OnParsed([&context, run = std::move(run)] { context.action = run; });
  return verb;
}

}  // namespace minke
