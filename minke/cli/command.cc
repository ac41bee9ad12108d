#include "minke/cli/command.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "minke/base/cgroup.h"
#include "minke/cli/terminal.h"

namespace minke {

void CliContext::Note(std::string_view text) const {
  if (!quiet) WriteStderr("minke: " + OneLine(text) + "\n");
}

void CliContext::Warn(std::string_view text) const { WriteStderr("minke: " + OneLine(text) + "\n"); }

int CliContext::ThreadCount() const {
  if (threads > 0) return threads;
  int count = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) count = CPU_COUNT(&set);
  if (const int limit = CgroupProcessors(); limit > 0) count = std::min(count, limit);
  return std::clamp(count, 1, 256);
}

FlagSet AddVerb(FlagSet program, CliContext& context, const std::string& name, const std::string& description,
                std::function<Status()> run) {
  FlagSet verb = program.Verb(name, description);
  verb.OnParsed([&context, run = std::move(run)] { context.action = run; });
  return verb;
}

}  // namespace minke
