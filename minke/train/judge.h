// A generative reward (V3.2 report 3): a model behind an OpenAI-compatible server grades answers by a rubric. Scores
// are written to a file under what was asked, so that a run that is resumed gets the same ones without asking again.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "minke/base/result.h"
#include "minke/train/metrics.h"

namespace minke {

struct JudgeOptions {
  std::string url;  // as in "http://127.0.0.1:8000/v1"; "": no judge
  std::string model, rubric;
  double weight = 1;        // of score / 10 in the reward
  double timeout_s = 60;    // of one request
  std::string api_key_env;  // the environment variable with the key; "": none is sent
  int64_t parallel = 4;     // requests at a time
  bool zero_on_failure = false;
  int64_t backoff_ms = 500;  // before the second try, twice as long before each one after it; not in the configuration

  bool enabled() const { return !url.empty(); }
};

// An answer to grade. `rollout` is its place in the step.
struct JudgeItem {
  int64_t rollout = 0;
  std::string question, answer;
};

struct JudgeScore {
  double score = 0;     // 0..10
  bool failed = false;  // no score could be had: 0, with zero_on_failure
};

// The number of a last line "score: N", 0 <= N <= 10, at most 4 digits behind the point; spaces around the line are no
// matter. Errors: kDamaged, saying what the last line is.
Result<double> ParseScore(std::string_view reply);

// The scores of a run: {"step": 3, "rollout": 7, "asked": "<hash>", "score": 6.5, "failed": false} a line. The hash is
// that of the request, so a score is used again for the same question to the same judge only. One thread.
class JudgeBook {
 public:
  // Opens `path`, made if it is not there; a last line that a kill cut short is removed. Errors: kFailed; kDamaged with
  // the line.
  static Result<JudgeBook> Open(const std::string& path);
  const JudgeScore* Find(int64_t step, int64_t rollout, std::string_view asked) const;
  Status Write(int64_t step, int64_t rollout, const std::string& asked, JudgeScore score);

 private:
  struct Entry {
    std::string asked;
    JudgeScore score;
  };
  explicit JudgeBook(MetricsWriter writer) : writer_(std::move(writer)) {}

  MetricsWriter writer_;
  std::map<std::pair<int64_t, int64_t>, Entry> entries_;
};

class AnswerJudge {
 public:
  // Reads the key. `where` names the task in messages. Errors: kInvalidArgument.
  static Result<AnswerJudge> Create(const JudgeOptions& options, std::string where);

  // Scores of `items` in their order: from `book` what it has, the others from the server, in parallel, which are then
  // written there in order. A time-out, a broken connection, a busy server (408, 429, 5xx) and a reply without a score
  // are tried four times; then, and at once where the server refuses the request, the score is 0 with zero_on_failure,
  // else the call fails, with what was scored in the book. A wrong key or address (3xx, 401, 403, 404, 405) always
  // fails. `should_stop` (or nothing) is asked often, from several threads, one at a time; once it is true no request
  // is waited for any longer, and the call fails, with what was scored in the book. Errors: kNetwork, kCancelled with
  // the numbers, and those of the book.
  Result<std::vector<JudgeScore>> Score(int64_t step, std::span<const JudgeItem> items, JudgeBook& book,
                                        const std::function<bool()>& should_stop = {}) const;

 private:
  AnswerJudge(const JudgeOptions& options, std::string where, std::string key)
      : options_(options), where_(std::move(where)), key_(std::move(key)) {}
  std::string Body(const JudgeItem& item) const;
  // `give_up`: before a try; `stopped`: at any time.
  Result<JudgeScore> Ask(const std::string& body, const std::function<bool()>& give_up,
                         const std::function<bool()>& stopped) const;

  JudgeOptions options_;
  std::string where_, key_;
};

}  // namespace minke
