// sort: numbers into ascending order. It is also the skeleton of a task. To add one: copy this file; write what a
// problem is (Draw, from `draws` alone), when two are the same (`id`), what the verifier needs (`facts`), how they are
// read back from a file (Read: that text is not ours, so check it), when an answer is right (Judge: must take any
// bytes), and how one is shown (Demonstrate); declare the kind in task_kinds.h, list it in task.cc, and give
// tasks_test.cc a right and a wrong answer. A task with an environment is countdown_task.cc.
#include <algorithm>

#include "minke/train/task_kinds.h"

namespace minke {
namespace {

class Sort : public Task {
 public:
  explicit Sort(int count) : count_(count) {}
  std::string name() const override { return fmt::format("sort:{}", count_); }
  Result<Problem> Read(const Json& line) const override {
    if (!line.is_object() || !line.contains("prompt") || !line["prompt"].is_string() || !line.contains("answer") ||
        !line["answer"].is_string())
      return Fail(Code::kDamaged, "expected \"prompt\" and \"answer\"");
    return Problem{.prompt = line["prompt"], .id = line["prompt"], .facts = {{"answer", line["answer"]}}};
  }
  Verdict Judge(const Problem& problem, std::string_view reasoning, std::string_view content) const override {
    const bool right = content == problem.facts.at("answer").get<std::string>();
    return {.right = right, .formatted = reasoning.empty() && content.find_first_not_of("0123456789,") == content.npos};
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

 private:
  int count_;
};

}  // namespace

const TaskKind kSortKind = {"sort", "[:COUNT]", "2 to 64 numbers (8) into ascending order; the skeleton of a task",
                            [](std::span<const std::string> parameters) -> Result<std::unique_ptr<const Task>> {
                              MINKE_TRY(AtMostParameters(parameters, 1));
                              MINKE_ASSIGN(const int count, NumberParameter(parameters, 0, "count", 2, 64, 8));
                              return std::make_unique<Sort>(count);
                            }};

}  // namespace minke
