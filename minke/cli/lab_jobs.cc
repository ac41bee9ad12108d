#include "minke/cli/lab_jobs.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <filesystem>

#include "minke/base/file.h"
#include "minke/cli/terminal.h"
#include "minke/train/draws.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxRecordBytes = int64_t{64} << 20;
constexpr useconds_t kPoll = 20'000;      // microseconds
constexpr double kPatience = 20;          // seconds that a job has to end after SIGTERM
constexpr size_t kLongestMessage = 4096;  // fits a pipe, so nobody need read while the job runs

Status WriteJson(const std::string& path, const Json& json) {
  const std::string text = DumpJson(json) + "\n";
  return WriteFileAtomic(path, std::as_bytes(std::span(text)));
}

struct Running {
  size_t job = 0;
  pid_t pid = 0;
  int pipe = -1, threads = 1;
  double start = 0;
};

class Runner {
 public:
  Runner(const std::string& folder, std::span<const LabJob> jobs, int threads, const LabWatcher& watcher)
      : folder_(folder), jobs_(jobs), threads_(threads), watcher_(watcher), free_(threads) {}
  ~Runner() { EndAll(); }

  Result<std::map<std::string, LabResult>> All();

 private:
  enum class State { kWaiting, kRunning, kDone };
  Status Prepare(size_t index, const std::string& key);
  bool IsReady(size_t index) const;
  Status StartReady();
  Status Start(size_t index, int threads);
  [[noreturn]] void RunChild(const LabJob& job, int threads, int pipe) const;
  Status Collect(const Running& running, int status);
  Status WaitForOne();
  void EndAll();
  Result<LabResult> ReadRecord(size_t index) const;
  std::string Folder(size_t index) const { return LabJobFolder(folder_, jobs_[index].name); }

  const std::string& folder_;
  const std::span<const LabJob> jobs_;
  const int threads_;
  const LabWatcher& watcher_;
  int free_;
  std::vector<State> states_;
  std::map<std::string, std::string> keys_;  // by name
  std::vector<Running> running_;
  std::map<std::string, LabResult> results_;
};

// Takes a result that is there, and makes the folder fit for the job otherwise.
Status Runner::Prepare(size_t index, const std::string& key) {
  const std::string folder = Folder(index);
  const auto begun = ReadFile(folder + "/key", kMaxRecordBytes);
  std::error_code error;
  if (!begun || *begun != key) {
    fs::remove_all(folder, error);
    fs::create_directories(folder, error);
    if (error) return Fail(Code::kFailed, "{}: cannot be made: {}", folder, error.message());
    return WriteFileAtomic(folder + "/key", std::as_bytes(std::span(key)));
  }
  auto record = ReadRecord(index);
  if (!record) return {};
  states_[index] = State::kDone;
  record->reused = true;
  results_[jobs_[index].name] = std::move(*record);
  return {};
}

Result<LabResult> Runner::ReadRecord(size_t index) const {
  const std::string path = Folder(index) + "/job.json";
  MINKE_ASSIGN(const std::string text, ReadFile(path, kMaxRecordBytes));
  MINKE_ASSIGN(const Json json, ParseJson(text, path));
  if (!json.is_object() || !json.contains("result") || !json.contains("seconds") || !json["seconds"].is_number())
    return Fail(Code::kDamaged, "{}: no result of minke lab", path);
  return LabResult{json["result"], json["seconds"], false};
}

bool Runner::IsReady(size_t index) const {
  return states_[index] == State::kWaiting && std::ranges::all_of(jobs_[index].after, [&](const std::string& name) {
           const auto before = std::ranges::find(jobs_, name, &LabJob::name);
           return before != jobs_.end() && states_[static_cast<size_t>(before - jobs_.begin())] == State::kDone;
         });
}

void Runner::RunChild(const LabJob& job, int threads, int pipe) const {
  const auto run = [&]() -> Status {
    const double start = MonotonicSeconds();
    const std::string folder = LabJobFolder(folder_, job.name);
    MINKE_ASSIGN(const Json result, job.run({folder, threads}));
    MINKE_TRY(
        WriteJson(folder + "/job.json",
                  {{"name", job.name}, {"key", job.key}, {"seconds", MonotonicSeconds() - start}, {"result", result}}));
    if (job.tidy) job.tidy({folder, threads});
    return {};
  };
  Status status;
  try {
    status = run();
  } catch (const std::exception& e) {
    status = Fail(Code::kFailed, "{}", e.what());
  }
  if (status) ::_exit(0);
  const std::string& message = status.error().message;
  static_cast<void>(!::write(pipe, message.data(), std::min(message.size(), kLongestMessage)));
  ::_exit(ExitCode(status.error().code));
}

Status Runner::Start(size_t index, int threads) {
  int ends[2];
  if (::pipe(ends) != 0) return Fail(Code::kFailed, "a pipe cannot be made: {}", std::strerror(errno));
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return Fail(Code::kFailed, "no process for {}: {}", jobs_[index].name, std::strerror(errno));
  if (pid == 0) {
    ::setpgid(0, 0);  // a Ctrl-C is for the parent, which passes it on
    ::signal(SIGTERM, SIG_DFL);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    ::close(ends[0]);
    RunChild(jobs_[index], threads, ends[1]);
  }
  ::close(ends[1]);
  running_.push_back({index, pid, ends[0], threads, MonotonicSeconds()});
  states_[index] = State::kRunning;
  free_ -= threads;
  if (watcher_.started) watcher_.started(jobs_[index], threads);
  return {};
}

Status Runner::StartReady() {
  for (size_t i = 0; i < jobs_.size() && free_ > 0; ++i) {
    if (!IsReady(i) || (jobs_[i].alone && !running_.empty())) continue;
    int others = 0;  // that could share the free threads
    for (size_t other = 0; other < jobs_.size(); ++other) others += IsReady(other) && !jobs_[other].alone;
    const int share = jobs_[i].alone ? free_ : std::max(1, free_ / std::max(1, others));
    MINKE_TRY(Start(i, std::min(share, jobs_[i].most_threads > 0 ? jobs_[i].most_threads : share)));
    if (jobs_[i].alone) free_ = 0;
  }
  return {};
}

Status Runner::Collect(const Running& running, int status) {
  const LabJob& job = jobs_[running.job];
  std::string message(kLongestMessage, '\0');
  const ssize_t length = ::read(running.pipe, message.data(), message.size());
  message.resize(length > 0 ? static_cast<size_t>(length) : 0);
  if (WIFSIGNALED(status))
    return Fail(Code::kFailed, "job {}: ended by signal {}; the same command goes on from there", job.name,
                WTERMSIG(status));
  if (const int code = WEXITSTATUS(status); code != 0)
    return Fail(static_cast<Code>(code), "job {}: {}", job.name, message.empty() ? "failed" : message);
  MINKE_ASSIGN(LabResult result, ReadRecord(running.job));
  states_[running.job] = State::kDone;
  LabResult& kept = results_[job.name] = std::move(result);
  if (watcher_.finished) watcher_.finished(job, kept, results_.size());
  return {};
}

Status Runner::WaitForOne() {
  for (;;) {
    if (watcher_.should_stop && watcher_.should_stop())
      return Fail(Code::kCancelled, "stopped; the same command goes on from there");
    for (size_t i = 0; i < running_.size(); ++i) {
      int status = 0;
      const pid_t pid = ::waitpid(running_[i].pid, &status, WNOHANG);
      if (pid == 0 || (pid < 0 && errno == EINTR)) continue;
      const Running ended = running_[i];
      running_.erase(running_.begin() + static_cast<int64_t>(i));
      free_ = jobs_[ended.job].alone ? threads_ : free_ + ended.threads;
      const Status collected = Collect(ended, status);
      ::close(ended.pipe);
      return collected;
    }
    ::usleep(kPoll);
  }
}

void Runner::EndAll() {
  for (const Running& running : running_) ::kill(running.pid, SIGTERM);
  const double start = MonotonicSeconds();
  for (const Running& running : running_) {
    int status = 0;
    while (::waitpid(running.pid, &status, WNOHANG) == 0) {
      if (MonotonicSeconds() - start > kPatience) ::kill(running.pid, SIGKILL);
      ::usleep(kPoll);
    }
    ::close(running.pipe);
  }
  running_.clear();
}

Result<std::map<std::string, LabResult>> Runner::All() {
  states_.assign(jobs_.size(), State::kWaiting);
  for (size_t i = 0; i < jobs_.size(); ++i) {
    std::string key = DumpJson(jobs_[i].key);
    for (const std::string& name : jobs_[i].after) key += "\n" + keys_[name];
    key = fmt::format("{:016x}", HashText(key));
    keys_[jobs_[i].name] = key;
    MINKE_TRY(Prepare(i, key));
    if (states_[i] == State::kDone && watcher_.finished)
      watcher_.finished(jobs_[i], results_[jobs_[i].name], results_.size());
  }
  while (results_.size() < jobs_.size()) {
    MINKE_TRY(StartReady());
    if (running_.empty()) return Fail(Code::kFailed, "no job can start: one waits for a job that is not there");
    MINKE_TRY(WaitForOne());
  }
  return std::move(results_);
}

}  // namespace

std::string LabJobFolder(const std::string& folder, const std::string& name) { return folder + "/jobs/" + name; }

Result<std::map<std::string, LabResult>> RunLabJobs(const std::string& folder, std::span<const LabJob> jobs,
                                                    int threads, const LabWatcher& watcher) {
  return Runner(folder, jobs, std::max(1, threads), watcher).All();
}

}  // namespace minke
