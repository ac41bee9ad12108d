#include "minke/train/dashboard.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "minke/base/json.h"

namespace minke {
namespace {

class Board : public ::testing::Test {
 protected:
  void SetUp() override { ::unlink(path_.c_str()); }
  std::unique_ptr<Dashboard> Start() {
    auto board = Dashboard::Start(0, "rl", "runs/<b>", path_);
    EXPECT_TRUE(board) << (board ? "" : board.error().message);
    return std::move(*board);
  }
  void Append(std::string_view text) const { std::ofstream(path_, std::ios::app) << text; }
  static HttpReply Get(const Dashboard& board, const std::string& path) {
    auto reply = SendHttp({.url = board.url() + path});
    EXPECT_TRUE(reply) << (reply ? "" : reply.error().message);
    return reply ? *reply : HttpReply{};
  }
  // All events of a run in which `during` happens. A stream ends when the dashboard does.
  std::string Events(const std::function<void(Dashboard&)>& during) {
    auto board = Start();
    std::string events;
    std::thread client([&, url = board->url() + "events"] { events = SendHttp({.url = url})->body; });
    while (board->num_viewers() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    during(*board);
    board.reset();
    client.join();
    return events;
  }

  const std::string path_ = ::testing::TempDir() + "minke-dashboard-" +
                            ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".jsonl";
};

TEST_F(Board, ServesThePageAndWholeLinesOnly) {
  const auto board = Start();
  EXPECT_EQ(Get(*board, "metrics.jsonl").body, "");  // not there yet
  Append("{\"step\": 1}\n{\"step\": 2}\n{\"st");
  EXPECT_EQ(Get(*board, "metrics.jsonl").body, "{\"step\": 1}\n{\"step\": 2}\n");
  EXPECT_EQ(Get(*board, "").body, kDashboardPage);
  EXPECT_EQ(Get(*board, "").Header("Content-Type"), "text/html; charset=utf-8");
  EXPECT_EQ(Get(*board, "../etc/passwd").status, 404);
}

TEST_F(Board, StatusHasSpeedAndTimeLeft) {
  const auto board = Start();
  EXPECT_TRUE(ParseJson(Get(*board, "status.json").body, "status")->at("seconds_left").is_null());
  for (int step = 1; step <= 3; ++step)
    board->Update({.stage = "sft", .step = step, .steps = 10, .tokens = 100, .seconds = 0.5});
  const Json status = *ParseJson(Get(*board, "status.json").body, "status");
  EXPECT_EQ(status["step"], 3);
  EXPECT_EQ(status["stage"], "sft");
  EXPECT_DOUBLE_EQ(status["tokens_per_s"], 200);
  EXPECT_DOUBLE_EQ(status["seconds_left"], 3.5);
}

TEST_F(Board, NewLinesAreEventsAndACutFileIsAReset) {
  Append("{\"step\": 1}\n{\"step\": 2}\n");
  const std::string events = Events([&](Dashboard& board) {
    Append("{\"step\": 3}\n{\"ste");
    board.Update({.step = 3, .steps = 9});
    while (!board.is_quiet()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(::truncate(path_.c_str(), 12), 0);
    board.Update({.step = 3, .steps = 9});
    while (!board.is_quiet()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    Append("{\"step\": 4}\n");
  });
  const size_t three = events.find("event: line\ndata: {\"step\": 3}\n\n"), reset = events.find("event: reset\n"),
               four = events.find("event: line\ndata: {\"step\": 4}\n\n"), done = events.find("\"done\":true");
  EXPECT_LT(three, reset) << events;
  EXPECT_LT(reset, four) << events;
  EXPECT_LT(four, done) << events;
  EXPECT_NE(done, std::string::npos) << events;
  EXPECT_EQ(events.find("{\"step\": 2}"), std::string::npos);  // that is for GET /metrics.jsonl
}

}  // namespace
}  // namespace minke
