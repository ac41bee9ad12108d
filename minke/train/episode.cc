#include "minke/train/episode.h"

#include <algorithm>

#include "minke/train/evaluate.h"
#include "minke/train/seconds.h"

namespace minke {

SamplingParams SamplingOf(const RlConfig& config, int64_t step) {
  SamplingParams params;
  params.temperature = config.temperature;
  params.top_p = config.top_p, params.top_k = config.top_k, params.min_p = config.min_p;
  params.max_tokens = config.max_tokens;
  params.seed = SeedOf(config.seed, static_cast<uint64_t>(step));
  params.logprobs = true;
  return params;
}

Result<std::unique_ptr<EpisodeMaker>> EpisodeMaker::Create(const RlConfig& config, const Tokenizer& tokenizer,
                                                           const TemplateChoice& choice) {
  auto maker = std::unique_ptr<EpisodeMaker>(new EpisodeMaker(config, tokenizer, choice));
  for (const RlTask& task : config.tasks) {
    MINKE_ASSIGN(auto found, FindTask(task.name));
    if (found->has_calls() && choice.format != ChatFormat::kV32)
      return Fail(Code::kInvalidArgument, "task {}: its calls are written in the format v32, this model's is {}",
                  task.name, Name(choice.format));
    maker->tasks_.push_back(std::move(found));
    maker->judges_.emplace_back();
    if (task.reward.judge.enabled()) {
      MINKE_ASSIGN(maker->judges_.back(), AnswerJudge::Create(task.reward.judge, "task " + task.name));
    }
  }
  if (config.has_judge()) {
    MINKE_ASSIGN(maker->judge_book_, JudgeBook::Open(config.out + "/judge.jsonl"));
  }
  return maker;
}

size_t EpisodeMaker::TaskOf(uint64_t index) const {
  double shares = 0;
  for (const RlTask& task : config_.tasks) shares += task.share;
  double place = Philox(config_.seed, UINT64_MAX).Uniform(index) * shares;
  size_t t = 0;
  while (t + 1 < tasks_.size() && place >= config_.tasks[t].share) place -= config_.tasks[t++].share;
  return t;
}

Result<std::vector<Episode>> EpisodeMaker::Make(Engine& engine, int64_t context, int64_t step,
                                                const std::function<bool()>& should_stop, RlReport& report) {
  MINKE_ASSIGN(std::vector<Episode> episodes, Roll(engine, context, step, report));
  MINKE_TRY(AskJudges(step, should_stop, episodes, report));
  Reward(episodes, report);
  return episodes;
}

Result<std::vector<Episode>> EpisodeMaker::Roll(Engine& engine, int64_t context, int64_t step, RlReport& report) {
  const double start = WallSeconds();
  std::vector<Episode> episodes;
  std::vector<RolloutRequest> requests;
  std::vector<Problem> problems;
  for (int64_t q = 0; q < config_.questions; ++q) {
    const auto index = static_cast<uint64_t>(step * config_.questions + q);
    const size_t t = TaskOf(index);
    const RlTask& task = config_.tasks[t];
    problems.push_back(tasks_[t]->Make(config_.seed, index, Split::kTrain));
    EvalOptions options;
    options.format = choice_.format, options.opens_think = choice_.opens_think, options.thinking = task.think;
    MINKE_ASSIGN(const std::vector<TokenId> prompt, EncodePrompt(tokenizer_, problems.back(), options));
    const int64_t room = context - std::ssize(prompt);
    if (room < 1)
      return Fail(Code::kInvalidArgument, "task {}: a prompt of {} tokens does not fit the context of {}", task.name,
                  prompt.size(), context);
    for (int64_t a = 0; a < config_.answers; ++a) {
      RolloutRequest& request = requests.emplace_back();
      request.prompt = prompt;
      request.thinking = task.think;
      request.params = SamplingOf(config_, step);
      request.params.max_tokens = std::min(request.params.max_tokens, room);
      request.params.stream = static_cast<uint64_t>(q * config_.answers + a);
      request.think_budget = task.think_budget;
      request.answer_tokens = task.answer_tokens > 0 ? task.answer_tokens : tasks_[t]->answer_tokens();
      request.environment = tasks_[t]->MakeEnvironment(task.think);
      Episode& episode = episodes.emplace_back();
      episode.task = t, episode.question = q;
      episode.tokens = prompt, episode.prompt = std::ssize(prompt);
    }
  }
  MINKE_ASSIGN(auto rollouts, RunRollouts(engine, tokenizer_, requests));
  for (size_t i = 0; i < episodes.size(); ++i) {
    Episode& episode = episodes[i];
    episode.rollout = std::move(rollouts[i]);
    const Rollout& rollout = episode.rollout;
    episode.tokens.insert(episode.tokens.end(), rollout.tokens.begin(), rollout.tokens.end());
    episode.verdict = tasks_[episode.task]->Judge(problems[static_cast<size_t>(episode.question)], rollout.reasoning,
                                                  rollout.content);
    if (judges_[episode.task]) {
      const Problem& problem = problems[static_cast<size_t>(episode.question)];
      episode.judge_question = problem.system.empty() ? problem.prompt : problem.system + "\n\n" + problem.prompt;
    }
    report.tokens += rollout.num_chosen();
    const int64_t most = requests[i].params.max_tokens;
    report.cut += most < config_.max_tokens && !rollout.ended && std::ssize(rollout.tokens) >= most;
  }
  report.rollout_seconds = WallSeconds() - start;
  return episodes;
}

// The judges' part of the rewards, task by task.
Status EpisodeMaker::AskJudges(int64_t step, const std::function<bool()>& should_stop, std::vector<Episode>& episodes,
                               RlReport& report) {
  const double start = WallSeconds();
  for (size_t t = 0; t < tasks_.size(); ++t) {
    if (!judges_[t]) continue;
    std::vector<JudgeItem> items;
    for (size_t i = 0; i < episodes.size(); ++i)
      if (episodes[i].task == t)
        items.push_back({static_cast<int64_t>(i), episodes[i].judge_question, episodes[i].rollout.content});
    MINKE_ASSIGN(const auto scores, judges_[t]->Score(step + 1, items, *judge_book_, should_stop));
    for (size_t i = 0; i < items.size(); ++i) {
      episodes[static_cast<size_t>(items[i].rollout)].judge_reward =
          config_.tasks[t].reward.judge.weight * scores[i].score / 10;
      ++report.judged, report.judge += scores[i].score, report.judge_failed += scores[i].failed;
    }
  }
  report.judge_seconds = WallSeconds() - start;
  if (report.judged > 0) report.judge /= static_cast<double>(report.judged);
  return {};
}

// Rewards, and advantages without dividing by their deviation (V3.2 report 3.1).
void EpisodeMaker::Reward(std::vector<Episode>& episodes, RlReport& report) const {
  report.tasks.resize(tasks_.size());
  for (Episode& episode : episodes) {
    episode.reward = RewardOf(episode.verdict, episode.rollout, config_.tasks[episode.task].reward);
    episode.reward += episode.judge_reward;
    for (RlTaskReport* sum : {&report.all, &report.tasks[episode.task]}) {
      ++sum->rollouts;
      sum->reward += episode.reward, sum->accuracy += episode.verdict.right, sum->forced += episode.rollout.forced;
      sum->think_tokens += static_cast<double>(episode.rollout.think_tokens);
      sum->formatted += episode.verdict.formatted;
    }
  }
  const auto divide = [](RlTaskReport& sum) {
    if (sum.rollouts == 0) return;
    const double count = static_cast<double>(sum.rollouts);
    for (double* value : {&sum.reward, &sum.accuracy, &sum.think_tokens, &sum.forced, &sum.formatted}) *value /= count;
  };
  divide(report.all);
  for (RlTaskReport& task : report.tasks) divide(task);
  const auto answers = static_cast<size_t>(config_.answers);
  for (size_t begin = 0; begin < episodes.size(); begin += answers) {
    const auto group = std::span(episodes).subspan(begin, answers);
    double mean = 0;
    for (const Episode& episode : group) mean += episode.reward / static_cast<double>(answers);
    const bool same = std::ranges::all_of(group, [&](const Episode& e) { return e.reward == group[0].reward; });
    for (Episode& episode : group) episode.advantage = same ? 0 : episode.reward - mean;
    report.skipped_questions += same;
  }
}

}  // namespace minke
