#include "minke/train/dashboard.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "minke/base/json.h"

namespace minke {
namespace {

constexpr int64_t kMostServed = 32 << 20;  // bytes of metrics in one answer
constexpr int64_t kMostRead = 1 << 20;     // new ones at a time
constexpr double kForget = 0.95;           // tokens/s are of the last twenty steps or so

// The whole lines in [begin, begin + most) of the file; "" where there are none. `size`: of the file.
std::string ReadLines(const std::string& path, int64_t begin, int64_t most, int64_t* size) {
  *size = 0;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return {};
  struct stat info = {};
  std::string text;
  if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
    *size = info.st_size;
    text.resize(static_cast<size_t>(std::clamp<int64_t>(info.st_size - begin, 0, most)));
    size_t done = 0;
    while (done < text.size()) {
      const ssize_t n = ::pread(fd, text.data() + done, text.size() - done, begin + static_cast<int64_t>(done));
      if (n <= 0) break;
      done += static_cast<size_t>(n);
    }
    text.resize(done);
  }
  ::close(fd);
  text.resize(text.rfind('\n') + 1);  // npos + 1 is 0
  return text;
}

std::string LastLines(const std::string& path) {
  int64_t size = 0;
  ReadLines(path, 0, 0, &size);
  const int64_t begin = std::max<int64_t>(0, size - kMostServed);
  std::string text = ReadLines(path, begin, kMostServed, &size);
  if (begin > 0) text.erase(0, text.find('\n') + 1);
  return text;
}

}  // namespace

Result<std::unique_ptr<Dashboard>> Dashboard::Start(int port, std::string verb, std::string run,
                                                    std::string metrics_path) {
  std::unique_ptr<Dashboard> board(new Dashboard(std::move(verb), std::move(run), std::move(metrics_path)));
  Dashboard* self = board.get();
  HttpRoutes routes;
  routes.handlers["GET /"] = [](const HttpRequest&) {
    return HttpAnswer{200, "text/html; charset=utf-8", kDashboardPage};
  };
  routes.handlers["GET /metrics.jsonl"] = [self](const HttpRequest&) {
    return HttpAnswer{200, "application/x-ndjson", LastLines(self->path_)};
  };
  routes.handlers["GET /status.json"] = [self](const HttpRequest&) {
    const std::scoped_lock lock(self->mutex_);
    return HttpAnswer{200, "application/json", self->StatusText()};
  };
  routes.streams.insert("/events");
  ReadLines(board->path_, 0, 0, &board->offset_);
  MINKE_ASSIGN(board->server_, HttpServer::Listen(std::move(routes), {.port = port}));
  try {
    board->follower_ = std::thread([self] { self->Follow(); });
  } catch (const std::exception& e) {
    return Fail(Code::kCannotListen, "the dashboard cannot start a thread: {}", e.what());
  }
  return board;
}

Dashboard::~Dashboard() {
  {
    const std::scoped_lock lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  if (follower_.joinable()) follower_.join();
  if (server_) server_->Drain(300);
  server_.reset();  // before what its handlers use
}

void Dashboard::Update(const DashboardStatus& status) {
  {
    const std::scoped_lock lock(mutex_);
    status_ = status;
    tokens_ = tokens_ * kForget + static_cast<double>(status.tokens);
    seconds_ = seconds_ * kForget + status.seconds;
    steps_seen_ = steps_seen_ * kForget + 1;
    fresh_ = true;
  }
  changed_.notify_all();
}

bool Dashboard::is_quiet() {
  const std::scoped_lock lock(mutex_);
  return !fresh_ && !sending_;
}

void Dashboard::Follow() {
  std::unique_lock lock(mutex_);
  while (!done_) {
    changed_.wait_for(lock, std::chrono::seconds(1), [&] { return fresh_ || done_; });
    const std::string status = fresh_ || done_ ? StatusText() : "";
    fresh_ = false, sending_ = true;
    lock.unlock();
    try {
      SendNewLines();
    } catch (const std::exception&) {  // no memory: this time nothing is shown
    }
    if (!status.empty()) server_->Publish("/events", "status", status);
    lock.lock();
    sending_ = false;
  }
}

void Dashboard::SendNewLines() {
  int64_t size = 0;
  std::string text = ReadLines(path_, offset_, kMostRead, &size);
  if (size < offset_) {  // a resumed run has cut the lines that it writes again
    offset_ = size;
    server_->Publish("/events", "reset", "{}");
    return;
  }
  offset_ += static_cast<int64_t>(text.size());
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    server_->Publish("/events", "line", rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
}

std::string Dashboard::StatusText() const {
  Json status = {{"verb", verb_},          {"run", run_},   {"stage", status_.stage},  {"step", status_.step},
                 {"steps", status_.steps}, {"done", done_}, {"tokens_per_s", nullptr}, {"seconds_left", nullptr}};
  if (seconds_ > 0) {
    status["tokens_per_s"] = tokens_ / seconds_;
    status["seconds_left"] = seconds_ / steps_seen_ * static_cast<double>(status_.steps - status_.step);
  }
  return DumpJson(status);
}

}  // namespace minke
