// sort: numbers into ascending order, and the skeleton of a task. To add one, copy this file and write what a problem
// is (Draw, from `draws` alone), when two are the same (`id`), what the verifier needs (`facts`), how a file's line is
// read back (Read: check it), when an answer is right (Judge: takes any bytes) and what one looks like (Demonstrate).
// Name the kind in task_kinds.h, task.cc and tasks_test.cc. countdown_task.cc has an environment too.
#include <algorithm>

#include "minke/train/task_kinds.h"

namespace minke {
namespace {

class Sort : public Task {
 public:
  explicit Sort(int count) : count_(count) {}
  std::string name() const override { return fmt::format("sort:{}", count_); }
  Result<Problem> Read(const Json& line) const override {
    if (!HasTexts(line, {"prompt", "answer"})) return Fail(Code::kDamaged, "expected \"prompt\" and \"answer\"");
    return Problem{.prompt = line["prompt"], .id = line["prompt"], .facts = {{"answer", line["answer"]}}};
  }
  Verdict Judge(const Problem& problem, std::string_view reasoning, std::string_view content) const override {
    return {.right = content == problem.facts.at("answer").get<std::string>(),
            .formatted = reasoning.empty() && content.find_first_not_of("0123456789,") == content.npos};
  }
  Trace Demonstrate(const Problem& problem, uint64_t /*seed*/, Searcher /*searcher*/) const override {
    return {.content = problem.facts.at("answer")};
  }

 protected:
  Problem Draw(Draws& draws) const override {
    std::vector<int> numbers;
    for (int i = 0; i < count_; ++i) numbers.push_back(draws.Between(10, 99));
    Problem problem{.prompt = fmt::format("Sort {}", fmt::join(numbers, ","))};
    std::ranges::sort(numbers);
    problem.id = problem.prompt;
    problem.facts["answer"] = fmt::format("{}", fmt::join(numbers, ","));
    return problem;
  }
  const int count_;
};

}  // namespace

const TaskKind kSortKind = {"sort", "[:COUNT]", "2 to 64 numbers (8) into ascending order; the skeleton of a task",
                            [](std::span<const std::string> parameters) -> Result<std::unique_ptr<const Task>> {
                              MINKE_TRY(AtMostParameters(parameters, 1));
                              MINKE_ASSIGN(const int count, NumberParameter(parameters, 0, "count", 2, 64, 8));
                              return std::make_unique<Sort>(count);
                            }};

}  // namespace minke
