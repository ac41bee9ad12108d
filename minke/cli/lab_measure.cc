#include "minke/cli/lab_measure.h"

#include <algorithm>

#include "minke/base/file.h"
#include "minke/cli/eval_report.h"
#include "minke/cli/training.h"
#include "minke/engine/engine.h"
#include "minke/kernels/kernel_set.h"
#include "minke/train/make_data.h"
#include "minke/train/seconds.h"

namespace minke {
namespace {

constexpr int64_t kParallel = 128;     // answers at once
constexpr int64_t kLeastSamples = 16;  // of a task

struct Asked {
  TrainingSubject subject;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<const Task> task;
};

Result<Asked> Open(const std::string& model, const std::string& task, bool dense, const std::string& isa, int threads) {
  Asked asked;
  MINKE_ASSIGN(asked.task, FindTask(task));
  MINKE_ASSIGN(asked.subject, OpenSubject(model, [](const std::string&) {}));
  EngineOptions options;
  MINKE_ASSIGN(options.kernels, ChooseKernelSet(isa));
  MINKE_ASSIGN(options.model, Model::Open(asked.subject.path.path));
  options.num_threads = threads;
  options.max_sequences = kParallel;
  options.attention = dense ? Attention::kDense : Attention::kDsa;
  options.speculation = Speculation::kOff;  // drafts do not pay in a crowd
  options.token_bytes = [tokenizer = asked.subject.tokenizer.get()](TokenId id) { return tokenizer->TokenBytes(id); };
  MINKE_ASSIGN(asked.engine, Engine::Open(options));
  return asked;
}

EvalOptions OptionsFor(const Asked& asked, int64_t budget, uint64_t seed) {
  EvalOptions options;
  options.format = asked.subject.choice.format, options.opens_think = asked.subject.choice.opens_think;
  options.params.temperature = 1;
  options.params.seed = seed;
  options.params.max_tokens = budget + 1 + asked.task->answer_tokens();
  options.think_budget = budget;
  return options;
}

// The rollout as a line of messages and parts; what was appended carries no loss.
std::string LineOf(const Task& task, const Problem& problem, const Rollout& rollout, const Tokenizer& tokenizer) {
  std::string parts;
  for (size_t begin = 0; begin < rollout.tokens.size();) {
    size_t end = begin;
    while (end < rollout.tokens.size() && rollout.chosen[end] == rollout.chosen[begin]) ++end;
    std::string text;
    for (size_t i = begin; i < end; ++i) text += tokenizer.TokenBytes(rollout.tokens[i]);
    const OrderedJson part = {{"text", text}, {"loss", rollout.chosen[begin] != 0}};
    parts += (parts.empty() ? "" : ", ") + DumpJson(part);
    begin = end;
  }
  return fmt::format("{{\"task\": \"{}\", \"messages\": {}, \"parts\": [{}]}}\n", task.name(),
                     MessagesToJson(PromptMessages(problem)), parts);
}

}  // namespace

Json LabAsk::ToJson() const {
  return {
      {"model", model}, {"task", task},  {"budgets", budgets}, {"problems", problems}, {"problem_seed", problem_seed},
      {"seed", seed},   {"dense", dense}};
}

Result<Json> AskModel(const LabAsk& ask, const std::string& isa, const LabWork& work) {
  MINKE_ASSIGN(const Asked asked, Open(ask.model, ask.task, ask.dense, isa, work.threads));
  std::vector<Problem> problems;
  for (int64_t i = 0; i < ask.problems; ++i)
    problems.push_back(asked.task->Make(ask.problem_seed, static_cast<uint64_t>(i), Split::kHeldOut));
  Json result = Json::object();
  for (const int64_t budget : ask.budgets) {
    const double start = CpuSeconds();
    MINKE_ASSIGN(const TaskResult answers, Evaluate(*asked.engine, *asked.subject.tokenizer, *asked.task, problems,
                                                    OptionsFor(asked, budget, ask.seed)));
    MINKE_TRY(WriteAnswers(fmt::format("{}/answers-{}.jsonl", work.folder, budget), problems, answers));
    OrderedJson score;
    AppendScore(answers.score, score);
    Json& entry = result[std::to_string(budget)];
    for (const auto& [key, value] : score.items()) entry[key] = value;
    entry["problems"] = ask.problems;
    entry["chosen_tokens"] = answers.score.chosen_tokens();
    entry["cpu_seconds"] = CpuSeconds() - start;
  }
  return result;
}

Result<Json> AcceptSamples(const std::string& model, const std::string& task, int64_t budget, int64_t count,
                           uint64_t seed, const std::string& isa, const LabWork& work) {
  MINKE_ASSIGN(const Asked asked, Open(model, task, false, isa, work.threads));
  std::vector<Problem> problems;
  for (int64_t i = 0; i < count; ++i)
    problems.push_back(asked.task->Make(seed, static_cast<uint64_t>(i), Split::kTrain));
  MINKE_ASSIGN(const TaskResult answers, Evaluate(*asked.engine, *asked.subject.tokenizer, *asked.task, problems,
                                                  OptionsFor(asked, budget, seed)));
  std::string lines;
  int64_t accepted = 0;
  for (size_t i = 0; i < problems.size(); ++i) {
    const Verdict& verdict = answers.verdicts[i];
    if (!verdict.right || !verdict.formatted || !answers.rollouts[i].ended) continue;
    lines += LineOf(*asked.task, problems[i], answers.rollouts[i], *asked.subject.tokenizer);
    ++accepted;
  }
  // A specialist that solves next to nothing teaches nothing: its task is then shown by the searcher, and said so.
  int64_t shown = 0;
  for (; accepted + shown < kLeastSamples; ++shown)
    lines +=
        DemonstrationLine(*asked.task, seed, static_cast<uint64_t>(count + shown), Split::kTrain, Searcher::kRandom) +
        "\n";
  MINKE_TRY(WriteFileAtomic(work.folder + "/accepted.jsonl", std::as_bytes(std::span(lines))));
  return Json{{"accepted", accepted}, {"rollouts", count}, {"demonstrations", shown}};
}

}  // namespace minke
