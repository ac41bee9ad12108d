#include "minke/train/make_data.h"

namespace minke {

OrderedJson ProblemLine(const Problem& problem) {
  OrderedJson line;
  line["id"] = problem.id;
  line["prompt"] = problem.prompt;
  for (const auto& [key, value] : problem.facts.items()) line[key] = value;
  return line;
}

std::string DemonstrationLine(const Task& task, uint64_t seed, uint64_t index, Split split, Searcher searcher) {
  const Problem problem = task.Make(seed, index, split);
  Trace trace = task.Demonstrate(problem, SeedOf(seed, index), searcher);
  std::vector<Message> messages = PromptMessages(problem);
  std::string parts;
  if (!trace.parts.empty()) {
    OrderedJson list = OrderedJson::array();
    for (const TracePart& part : trace.parts) list.push_back({{"text", part.text}, {"loss", part.loss}});
    parts = ", \"parts\": " + DumpJson(list);
  } else if (!trace.messages.empty()) {
    std::move(trace.messages.begin(), trace.messages.end(), std::back_inserter(messages));
  } else {
    messages.push_back({.role = "assistant", .content = trace.content, .reasoning_content = trace.reasoning});
  }
  std::string line = "{\"task\": ";
  AppendJsonString(line, task.name());
  return line + ", \"messages\": " + MessagesToJson(messages) + parts + "}";
}

}  // namespace minke
