#include "minke/train/judge.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <thread>

#include "minke/base/file.h"
#include "minke/base/http.h"
#include "minke/base/json.h"

namespace minke {
namespace {

std::string Completion(std::string_view content) {
  return DumpJson(Json{{"choices", {{{"message", {{"role", "assistant"}, {"content", content}}}}}}});
}

// A judge whose answers a test writes: by the user's message, and how often that was asked before.
class Judging : public ::testing::Test {
 protected:
  using Script = std::function<HttpAnswer(const std::string& user, int before)>;

  void SetUp() override { std::remove(book_path_.c_str()); }
  void Serve(Script script) {
    HttpRoutes routes;
    routes.handlers["POST /v1/chat/completions"] = [this, script = std::move(script)](const HttpRequest& request) {
      const Json body = *ParseJson(request.body, "request");
      const std::string user = body["messages"][1]["content"];
      const std::scoped_lock lock(mutex_);
      last_ = body;
      key_.clear();
      for (const HttpHeader& header : request.headers)
        if (header.name == "Authorization") key_ = header.value;
      ++asked_;
      return script(user, before_[user]++);
    };
    server_ = std::move(*HttpServer::Listen(std::move(routes)));
    options_.url = server_->url() + "/v1/";
    options_.model = "grader", options_.rubric = "Be brief.", options_.backoff_ms = 1, options_.timeout_s = 10;
  }
  Result<std::vector<JudgeScore>> Score(int64_t step, std::span<const JudgeItem> items) {
    auto judge = AnswerJudge::Create(options_, "task t");
    EXPECT_TRUE(judge);
    auto book = JudgeBook::Open(book_path_);
    EXPECT_TRUE(book) << (book ? "" : book.error().message);
    return judge->Score(step, items, *book);
  }
  std::string ErrorOf(std::span<const JudgeItem> items) {
    const auto scores = Score(1, items);
    EXPECT_FALSE(scores);
    return scores ? "" : scores.error().message;
  }

  const std::string book_path_ = ::testing::TempDir() + "minke-judge-" +
                                 ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".jsonl";
  JudgeOptions options_;
  std::mutex mutex_;
  std::map<std::string, int> before_;
  Json last_;
  std::string key_;
  int asked_ = 0;
  std::unique_ptr<HttpServer> server_;
};

std::vector<JudgeItem> Items(int count) {
  std::vector<JudgeItem> items;
  for (int i = 0; i < count; ++i) items.push_back({i, "question", fmt::format("answer {}.", i)});
  return items;
}
// Of the answer's number, modulo 11.
HttpAnswer Grade(const std::string& user) {
  const int number = std::atoi(user.c_str() + user.find("answer ") + 7);
  return {200, "application/json", Completion(fmt::format("Fine.\nscore: {}", number % 11))};
}

TEST(ParseScore, IsStrict) {
  EXPECT_EQ(ParseScore("score: 7").value(), 7);
  EXPECT_EQ(ParseScore("It is good.\n\nscore: 10 \r\n\n").value(), 10);
  EXPECT_EQ(ParseScore("score: 1\nscore: 6.25").value(), 6.25);
  EXPECT_EQ(ParseScore("score: 0").value(), 0);
  for (const char* reply :
       {"", "7", "score:7", "Score: 7", "score: 11", "score: 10.1", "score: -1", "score: 7/10", "score: 7\nthank you",
        "my score: 7", "score: ", "score: .5", "score: 5.", "score: nan", "score: 1e1", "score: 000", "score: 7 8"}) {
    const auto score = ParseScore(reply);
    EXPECT_FALSE(score) << reply;
  }
}

TEST_F(Judging, ScoresComeInOrderAndAreAskedAsTheRubricSays) {
  Serve([](const std::string& user, int) { return Grade(user); });
  ::setenv("MINKE_TEST_JUDGE_KEY", " secret\n", 1);
  options_.api_key_env = "MINKE_TEST_JUDGE_KEY";
  const auto scores = Score(1, Items(30));
  ASSERT_TRUE(scores) << scores.error().message;
  for (int i = 0; i < 30; ++i) EXPECT_EQ((*scores)[static_cast<size_t>(i)].score, i % 11);
  EXPECT_EQ(last_["model"], "grader");
  EXPECT_EQ(last_["temperature"], 0);
  EXPECT_NE(last_["messages"][0]["content"].get<std::string>().find("Be brief."), std::string::npos);
  EXPECT_NE(last_["messages"][1]["content"].get<std::string>().find("<question>\nquestion\n"), std::string::npos);
  EXPECT_EQ(key_, "Bearer secret");
  options_.api_key_env = "MINKE_TEST_NO_SUCH_KEY";
  const auto judge = AnswerJudge::Create(options_, "task t");
  ASSERT_FALSE(judge);
  EXPECT_NE(judge.error().message.find("MINKE_TEST_NO_SUCH_KEY"), std::string::npos);
}

TEST_F(Judging, RequestsOfAStepRunInParallel) {
  // The server answers too late for all: sixteen requests of four tries each, 50 ms a try, take about four such waits
  // together and would take 64 one by one.
  Serve([](const std::string&, int) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return HttpAnswer{200, "application/json", Completion("score: 1")};
  });
  options_.timeout_s = 0.05, options_.zero_on_failure = true, options_.parallel = 16;
  const auto start = std::chrono::steady_clock::now();
  const auto scores = Score(1, Items(16));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  ASSERT_TRUE(scores);
  EXPECT_TRUE(std::ranges::all_of(*scores, [](const JudgeScore& score) { return score.failed; }));
  EXPECT_LT(seconds, 0.5 * 16 * 4 * 0.05);
}

// A judge that answers the first two questions and then none, as slow ones do; a signal comes meanwhile.
TEST_F(Judging, AStopCutsTheWaitAndKeepsWhatCame) {
  std::atomic<bool> open = false, stop = false;
  std::atomic<int> graded = 0;
  Serve([&](const std::string& user, int) {
    if (graded == 2) {
      stop = true;
      for (int waited = 0; !open && waited < 300; ++waited) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ++graded;
    return Grade(user);
  });
  options_.parallel = 1, options_.timeout_s = 60;
  auto judge = AnswerJudge::Create(options_, "task t");
  auto book = JudgeBook::Open(book_path_);
  const auto start = std::chrono::steady_clock::now();
  const auto scores = judge->Score(1, Items(5), *book, [&] { return stop.load(); });
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 1);
  ASSERT_FALSE(scores);
  EXPECT_EQ(scores.error().code, Code::kCancelled);
  EXPECT_NE(scores.error().message.find("2 of its 5 scores of step 1"), std::string::npos) << scores.error().message;
  open = true;
  EXPECT_EQ(Score(1, Items(5)).value()[4].score, 4);
  EXPECT_EQ(asked_, 3 + 3);  // the third a second time
}

TEST_F(Judging, AFailureIsTriedAgain) {
  Serve([](const std::string& user, int before) {
    if (before == 0) return HttpAnswer{503, "text/plain", "busy"};
    if (before == 1) return HttpAnswer{200, "application/json", Completion("I would rather not.")};
    if (before == 2) return HttpAnswer{200, "application/json", "{\"choices\": []}"};
    return Grade(user);
  });
  const auto scores = Score(1, Items(3));
  ASSERT_TRUE(scores) << scores.error().message;
  EXPECT_EQ((*scores)[2].score, 2);
  EXPECT_EQ(asked_, 12);
}

TEST_F(Judging, AJudgeWithoutAScoreEndsTheRunOrCountsAsZero) {
  Serve([](const std::string& user, int) {
    return user.find("answer 1.") == user.npos ? Grade(user)
                                               : HttpAnswer{200, "application/json", Completion("score: eleven")};
  });
  options_.parallel = 1;
  const std::string message = ErrorOf(Items(5));
  EXPECT_NE(message.find("task t: judge http://127.0.0.1:"), std::string::npos) << message;
  EXPECT_NE(message.find("after 4 tries: the last line is \"score: eleven\""), std::string::npos) << message;
  EXPECT_NE(message.find("on_failure"), std::string::npos);
  EXPECT_EQ(asked_, 5);  // the first answer once, the second four times, the others not at all
  options_.zero_on_failure = true;
  const auto scores = Score(1, Items(3));
  ASSERT_TRUE(scores);
  EXPECT_EQ(asked_, 5 + 4 + 1);  // the first was in the book
  EXPECT_TRUE((*scores)[1].failed && (*scores)[1].score == 0 && !(*scores)[0].failed && (*scores)[2].score == 2);
  EXPECT_EQ(Score(1, Items(3)).value()[1].failed, true);  // a failure is replayed as well
  EXPECT_EQ(asked_, 10);
}

TEST_F(Judging, AWrongKeyOrAddressEndsTheRunAtOnce) {
  Serve([](const std::string&, int) { return HttpAnswer{401, "text/plain", "who\nare you?"}; });
  options_.zero_on_failure = true;
  const std::string message = ErrorOf(Items(1));
  EXPECT_NE(message.find("status 401: who are you?"), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), message.npos);
  EXPECT_EQ(asked_, 1);
  options_.url = server_->url();
  EXPECT_NE(ErrorOf(Items(1)).find("404"), std::string::npos);
  const std::string gone = server_->url();
  server_.reset();
  options_.url = gone, options_.zero_on_failure = false;
  EXPECT_NE(ErrorOf(Items(1)).find("refused"), std::string::npos);
}

TEST_F(Judging, ScoresAreReplayedByStepRolloutAndQuestion) {
  Serve([](const std::string& user, int before) {
    HttpAnswer answer = Grade(user);
    if (before > 0) answer.body = Completion("score: 10");  // a judge that changes its mind
    return answer;
  });
  ASSERT_TRUE(Score(1, Items(3)));
  const std::string bytes = *ReadFile(book_path_, 1 << 20);
  EXPECT_EQ(asked_, 3);
  EXPECT_EQ(Score(1, Items(3)).value()[2].score, 2);
  EXPECT_EQ(asked_, 3);
  EXPECT_EQ(*ReadFile(book_path_, 1 << 20), bytes);
  EXPECT_EQ(Score(2, Items(3)).value()[2].score, 10);  // another step asks again
  EXPECT_EQ(asked_, 6);
  options_.rubric = "Be long.";  // and so does another rubric
  EXPECT_EQ(Score(2, Items(3)).value()[2].score, 10);
  EXPECT_EQ(asked_, 9);
  std::ofstream(book_path_, std::ios::app) << "{\"step\": 3, \"roll";  // a kill in the middle of a line
  EXPECT_TRUE(JudgeBook::Open(book_path_));
  std::ofstream(book_path_, std::ios::app) << "{\"step\": 3}\n";
  const auto broken = JudgeBook::Open(book_path_);
  ASSERT_FALSE(broken);
  EXPECT_NE(broken.error().message.find("line 10"), std::string::npos) << broken.error().message;
}

}  // namespace
}  // namespace minke
