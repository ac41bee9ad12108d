#include "minke/train/task.h"

#include <algorithm>
#include <charconv>

#include "minke/base/check.h"
#include "minke/base/nearest_name.h"
#include "minke/train/task_kinds.h"

namespace minke {
namespace {

constexpr const TaskKind* kKinds[] = {&kCountdownKind,     &kCountdown4Kind, &kCountdownToolKind,
                                      &kCountdownCallKind, &kLookupKind,     &kSortKind};

std::vector<std::string> SplitAtColons(std::string_view text) {
  std::vector<std::string> words;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(':', begin), text.size());
    words.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

}  // namespace

bool IsHeldOut(std::string_view problem_id) { return HashText(problem_id) % 16 == 0; }

Problem Task::Make(uint64_t seed, uint64_t index, Split split) const {
  for (uint64_t tried = 0; tried < 10000; ++tried) {
    Draws draws(seed, index, tried << 32);
    Problem problem = Draw(draws);
    if (IsHeldOut(problem.id) == (split == Split::kHeldOut)) return problem;
  }
  CheckFailed(__FILE__, __LINE__, "a task whose problems are all in one split");
}

std::vector<Message> PromptMessages(const Problem& problem) {
  std::vector<Message> messages;
  if (!problem.system.empty()) messages.push_back({.role = "system", .content = problem.system});
  messages.push_back({.role = "user", .content = problem.prompt});
  if (!problem.tools.empty()) AttachTools(messages, problem.tools);
  return messages;
}

AnswerText SplitAnswer(std::string_view text, size_t last_turn, bool thinking) {
  if (!thinking) return {text.substr(0, last_turn), text.substr(last_turn)};
  const size_t close = text.find(kEndOfThinking, last_turn);
  if (close == std::string_view::npos) return {text, {}};
  return {text.substr(0, close), text.substr(close + kEndOfThinking.size())};
}

Result<std::string> TextOfMessages(const Problem& problem, std::span<const Message> messages) {
  std::vector<Message> all = PromptMessages(problem);
  const size_t prompt = all.size();
  all.insert(all.end(), messages.begin(), messages.end());
  EncodeOptions options{.thinking_mode = ThinkingMode::kThinking};
  options.context = std::span(all).first(prompt);
  MINKE_ASSIGN(std::string text, EncodeChat(ChatFormat::kV32, std::span(all).subspan(prompt), options));
  if (text.ends_with(markers::kEnd)) text.resize(text.size() - markers::kEnd.size());
  return text;
}

Result<Verdict> JudgeMessages(const Task& task, const Problem& problem, std::span<const Message> messages) {
  MINKE_ASSIGN(const std::string text, TextOfMessages(problem, messages));
  const bool answered = !messages.empty() && messages.back().role == "assistant" && messages.back().tool_calls.empty();
  if (!answered) return task.Judge(problem, text, {});
  const size_t content = messages.back().content.size();
  const size_t close = text.size() - content - kEndOfThinking.size();  // the format has put it there
  return task.Judge(problem, std::string_view(text).substr(0, close), messages.back().content);
}

std::span<const TaskKind* const> AllTasks() { return kKinds; }

Result<std::unique_ptr<const Task>> FindTask(std::string_view name) {
  const std::vector<std::string> words = SplitAtColons(name);
  std::vector<std::string> names;
  for (const TaskKind* kind : AllTasks()) {
    if (words[0] != kind->name) {
      names.push_back(kind->name);
      continue;
    }
    auto task = kind->make(std::span(words).subspan(1));
    if (!task)
      return Fail(task.error().code, "task {}: {}: write it {}{}", name, task.error().message, kind->name,
                  kind->parameters);
    return task;
  }
  const std::string near = NearestName(words[0], names);
  return Fail(Code::kInvalidArgument, "unknown task \"{}\"{}: there are {}", name,
              near.empty() ? "" : ", did you mean " + near, fmt::join(names, ", "));
}

Result<int> NumberParameter(std::span<const std::string> parameters, size_t index, const char* what, int least,
                            int most, int otherwise) {
  if (index >= parameters.size()) return otherwise;
  const std::string& text = parameters[index];
  int value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size() || value < least || value > most)
    return Fail(Code::kInvalidArgument, "\"{}\" is no {} from {} to {}", text, what, least, most);
  return value;
}

Status AtMostParameters(std::span<const std::string> parameters, size_t most) {
  if (parameters.size() > most)
    return Fail(Code::kInvalidArgument, "{} parameters, at most {} expected", parameters.size(), most);
  return {};
}

bool HasTexts(const Json& line, std::initializer_list<const char*> keys) {
  return line.is_object() && std::ranges::all_of(keys, [&](const char* key) {
           const auto found = line.find(key);
           return found != line.end() && found->is_string();
         });
}

}  // namespace minke
