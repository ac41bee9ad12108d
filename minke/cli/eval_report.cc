#include "minke/cli/eval_report.h"

#include <cmath>

#include "minke/base/file.h"
#include "minke/train/make_data.h"

namespace minke {

void AppendScore(const TaskScore& s, OrderedJson& json) {
  const auto number = [](double value) { return std::isnan(value) ? OrderedJson(nullptr) : OrderedJson(value); };
  json["accuracy"] = number(s.accuracy());
  json["standard_error"] = number(s.standard_error());
  json["think_tokens"] = number(s.think_tokens());
  json["output_tokens"] = number(s.output_tokens());
  json["within"] = {{"2", number(s.within(2))}, {"4", number(s.within(4))}, {"8", number(s.within(8))}};
  json["attempts"] = number(s.attempts());
  json["distinct_attempts"] = number(s.distinct_attempts());
  json["correct_steps"] = number(s.correct_steps());
  json["formatted"] = number(s.formatted());
  json["gave_up"] = number(s.gave_up());
  json["ended"] = number(s.ended());
  json["forced"] = number(s.forced());
}

Status WriteAnswers(const std::string& path, std::span<const Problem> problems, const TaskResult& result) {
  return WriteFileAtomic(path, [&](const AppendFn& append) -> Status {
    for (size_t i = 0; i < problems.size(); ++i) {
      const Rollout& rollout = result.rollouts[i];
      const Verdict& verdict = result.verdicts[i];
      OrderedJson line = ProblemLine(problems[i]);
      line["reasoning"] = rollout.reasoning;
      line["content"] = rollout.content;
      line["right"] = verdict.right;
      line["formatted"] = verdict.formatted;
      line["attempts"] = verdict.attempts;
      line["distinct_attempts"] = verdict.distinct_attempts;
      line["steps"] = verdict.steps;
      line["correct_steps"] = verdict.correct_steps;
      line["hit_attempt"] = verdict.hit_attempt;
      line["think_tokens"] = rollout.think_tokens;
      line["output_tokens"] = rollout.num_chosen();
      line["ended"] = rollout.ended;
      line["forced"] = rollout.forced;
      const std::string text = DumpJson(line) + "\n";
      MINKE_TRY(append(std::as_bytes(std::span(text))));
    }
    return {};
  });
}

}  // namespace minke
