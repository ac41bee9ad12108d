// A live page about a run, on loopback: curves of the lines in its metrics file, drawn by the browser. Training never
// waits for it and does not end by it: a thread of its own follows the file, and a client that does not keep up is
// dropped and loads the page's data again.
//
//   GET /               the page: one file, nothing from elsewhere
//   GET /metrics.jsonl  the file's whole lines, the last 32 MiB of them
//   GET /status.json    {"verb", "run", "stage", "step", "steps", "tokens_per_s", "seconds_left", "done"}
//   GET /events         Server-Sent Events: "line" (a new line of metrics), "status", "reset" (load the lines again)
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "minke/base/http.h"
#include "minke/base/result.h"

namespace minke {

extern const char* const kDashboardPage;  // dashboard_page.cc

struct DashboardStatus {
  std::string stage = {};
  int64_t step = 0, steps = 0;
  int64_t tokens = 0;  // of this step
  double seconds = 0;  // that it took
};

class Dashboard {
 public:
  // Listens on `port` (0: any) and follows `metrics_path`, which need not be there yet. `verb` and `run` are shown.
  // Errors: kCannotListen.
  static Result<std::unique_ptr<Dashboard>> Start(int port, std::string verb, std::string run,
                                                  std::string metrics_path);
  ~Dashboard();  // sends what is new, and that the run has ended; waits 0.3 s at most
  std::string url() const { return server_->url() + "/"; }

  int num_viewers() const { return server_->num_stream_clients(); }
  bool is_quiet();  // all updates so far were sent

  void Update(const DashboardStatus& status);  // after the step's line was written; takes a lock and returns

 private:
  Dashboard(std::string verb, std::string run, std::string path)
      : verb_(std::move(verb)), run_(std::move(run)), path_(std::move(path)) {}
  void Follow();
  void SendNewLines();
  std::string StatusText() const;  // with mutex_ held

  const std::string verb_, run_, path_;
  std::mutex mutex_;
  std::condition_variable changed_;
  DashboardStatus status_;
  double tokens_ = 0, seconds_ = 0;  // of the last steps, older ones counting less
  double steps_seen_ = 0;            // that these sums are of
  bool fresh_ = false, sending_ = false, done_ = false;
  int64_t offset_ = 0;  // of the file, sent so far; the follower's alone
  std::unique_ptr<HttpServer> server_;
  std::thread follower_;
};

}  // namespace minke
