// The jobs of an experiment, each in a process of its own: so a job's CPU time is its own, two one-thread runs share
// two cores without meeting, and a job that fails says why and takes nothing with it.
//
// A job owns the folder FOLDER/jobs/NAME. Its result is written there when it is done (job.json); one with the same
// key, after jobs with the same keys, is taken from there another time. A job that was killed finds what it had left,
// so trainings go on from their checkpoints; another key empties the folder first.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "minke/base/json.h"
#include "minke/base/result.h"

namespace minke {

struct LabWork {
  std::string folder;  // of this job
  int threads = 1;
};

struct LabJob {
  std::string name;
  std::vector<std::string> after;  // names of jobs that are done before; they stand earlier in the list
  Json key;                        // all that the result depends on, beside the jobs before
  std::function<Result<Json>(const LabWork&)> run;  // kCancelled: stopped by a signal
  int most_threads = 1;
  bool alone = false;                             // it measures speed: nothing else runs meanwhile
  std::function<void(const LabWork&)> tidy = {};  // once the result is kept: what only a resumed run would need goes
};

struct LabResult {
  Json result;
  double seconds = 0;
  bool reused = false;
};

struct LabWatcher {
  std::function<void(const LabJob&, int threads)> started;
  std::function<void(const LabJob&, const LabResult&, size_t done)> finished;
  std::function<bool()> should_stop;  // then jobs get SIGTERM, which ends them unless they catch it, and SIGKILL later
};

std::string LabJobFolder(const std::string& folder, const std::string& name);

// Results by name. Call it while the process has one thread. Errors: of the first job that failed, with its name;
// kCancelled.
Result<std::map<std::string, LabResult>> RunLabJobs(const std::string& folder, std::span<const LabJob> jobs,
                                                    int threads, const LabWatcher& watcher);

}  // namespace minke
