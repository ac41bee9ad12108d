#include "minke/train/rl_config.h"

#include <algorithm>
#include <limits>

#include "minke/train/config_file.h"
#include "minke/train/optimizer_config.h"
#include "minke/train/task.h"

namespace minke {
namespace {

constexpr int64_t kMost = 1 << 20;

void ReadJudge(ConfigSection section, JudgeOptions& judge) {
  if (!section.present()) return;
  for (const char* key : {"url", "model", "rubric"}) section.Need(key);
  section.Text("url", judge.url);
  section.Text("model", judge.model);
  section.Text("rubric", judge.rubric);
  section.Number("weight", judge.weight, -100.0, 100.0);
  section.Number("timeout_s", judge.timeout_s, 0.01, 3600.0);
  section.Text("api_key_env", judge.api_key_env);
  section.Number("parallel", judge.parallel, 1, 256);
  std::string on_failure = "stop";
  section.Choice("on_failure", on_failure, {"stop", "zero"});
  judge.zero_on_failure = on_failure == "zero";
  if (section.Has("url") && !judge.url.starts_with("http://") && !judge.url.starts_with("https://"))
    section.Refuse({"url"}, "expected http://HOST:PORT/v1 or https://...");
}

void ReadTask(ConfigSection section, RlTask& task) {
  section.Need("name");
  section.Text("name", task.name);
  section.Number("share", task.share, 0.0, 1e6);
  section.Number("think_budget", task.think_budget, 0, kMost);
  section.Flag("think", task.think);
  section.Number("answer_tokens", task.answer_tokens, 0, kMost);
  section.Number("beta", task.beta, 0.0, 100.0);
  section.Number("outcome", task.reward.outcome, -100.0, 100.0);
  section.Number("length_penalty", task.reward.length_penalty, -100.0, 100.0);
  section.Number("format", task.reward.format, -100.0, 100.0);
  section.Number("distinct", task.reward.distinct, -100.0, 100.0);
  section.Number("language", task.reward.language, -100.0, 100.0);
  section.Choice("language_code", task.reward.language_code, {"en", "zh"});
  ReadJudge(section.Section("judge"), task.reward.judge);
  if (section.Has("name")) {
    if (const auto found = FindTask(task.name); !found) section.Refuse({"name"}, found.error().message);
  }
}

}  // namespace

bool RlConfig::has_reference() const {
  return std::ranges::any_of(tasks, [](const RlTask& task) { return task.beta > 0; });
}

bool RlConfig::has_judge() const {
  return std::ranges::any_of(tasks, [](const RlTask& task) { return task.reward.judge.enabled(); });
}

Json RlConfig::ToJson() const {
  Json json = {{"model", model},
               {"seed", seed},
               {"questions", questions},
               {"answers", answers},
               {"mini_batches", mini_batches},
               {"micro_tokens", micro_tokens},
               {"max_tokens", max_tokens},
               {"reference_every", reference_every},
               {"lr", lr},
               {"warmup_steps", warmup_steps},
               {"indexer_lr", indexer_lr},
               {"temperature", temperature},
               {"top_p", top_p},
               {"min_p", min_p},
               {"top_k", top_k},
               {"dense", dense},
               {"keep_routing", keep_routing},
               {"replay_index", replay_index},
               {"keep_sampling_mask", keep_sampling_mask},
               {"grpo", {grpo.clip, grpo.delta, grpo.unbiased_kl, grpo.sequence_mask}},
               {"adamw", {adamw.beta1, adamw.beta2, adamw.eps, adamw.weight_decay, adamw.clip}},
               {"tasks", Json::array()}};
  for (const RlTask& t : tasks) {
    json["tasks"].push_back(
        {{"name", t.name},
         {"share", t.share},
         {"think_budget", t.think_budget},
         {"think", t.think},
         {"answer_tokens", t.answer_tokens},
         {"beta", t.beta},
         {"reward", {t.reward.outcome, t.reward.length_penalty, t.reward.format, t.reward.distinct, t.reward.language}},
         {"language_code", t.reward.language_code}});
    // Where the judge is and how it is reached may change between runs; what it says then is in judge.jsonl.
    if (const JudgeOptions& judge = t.reward.judge; judge.enabled())
      json["tasks"].back()["judge"] = {judge.model, judge.rubric, judge.weight, judge.zero_on_failure};
  }
  return json;
}

Result<RlConfig> ReadRlConfig(const std::string& path) {
  MINKE_ASSIGN(ConfigFile file, ConfigFile::Open(path));
  RlConfig c;
  ConfigSection root = file.root();
  for (const char* key : {"out", "model", "steps"}) root.Need(key);
  root.Text("out", c.out);
  root.Text("model", c.model);
  int64_t seed = 1;
  root.Number("seed", seed, 0, INT64_MAX);
  c.seed = static_cast<uint64_t>(seed);
  root.Number("threads", c.threads, 1, 1024);
  root.Number("steps", c.steps, 1, 1'000'000'000);
  root.Number("questions", c.questions, 1, kMost);
  root.Number("answers", c.answers, 2, kMost);
  root.Number("mini_batches", c.mini_batches, 1, kMost);
  root.Number("micro_tokens", c.micro_tokens, 2, 1 << 18);
  root.Number("max_tokens", c.max_tokens, 1, kMost);
  root.Number("max_sequences", c.max_sequences, 1, 1 << 16);
  root.Number("checkpoint_every", c.checkpoint_every, 1, 1'000'000'000);
  root.Number("reference_every", c.reference_every, 0, 1'000'000'000);
  root.Number("lr", c.lr, 0.0, 10.0);
  root.Number("warmup_steps", c.warmup_steps, 0, 1'000'000'000);
  root.Number("indexer_lr", c.indexer_lr, 0.0, 10.0);
  root.Number("temperature", c.temperature, 0.01, kMaxTemperature);
  root.Number("top_p", c.top_p, 0.01, 1);
  root.Number("min_p", c.min_p, 0, 0.99);
  root.Number("top_k", c.top_k, 0, kMost);
  std::string attention = "dsa";
  root.Choice("attention", attention, {"dense", "dsa"});
  c.dense = attention == "dense";
  root.Flag("keep_routing", c.keep_routing);
  root.Flag("replay_index", c.replay_index);
  root.Flag("keep_sampling_mask", c.keep_sampling_mask);
  root.Flag("check_on_policy", c.check_on_policy);
  root.Flag("unbiased_kl", c.grpo.unbiased_kl);
  root.Flag("sequence_mask", c.grpo.sequence_mask);
  root.Number("clip", c.grpo.clip, 0, 1e6);
  root.Number("delta", c.grpo.delta, 0, 1e6);
  c.grpo.temperature = c.temperature;

  ReadOptimizer(root.Section("optimizer"), c.adamw);
  const auto sections = root.Sections("task");
  if (sections.empty()) root.Refuse({"task"}, "the run has no [[task]]");
  for (const ConfigSection& section : sections) ReadTask(section, c.tasks.emplace_back());
  double shares = 0;
  for (const RlTask& task : c.tasks) shares += task.share;
  if (!sections.empty() && shares <= 0) root.Refuse({"task"}, "none has a share of the questions");
  if (c.questions % c.mini_batches != 0) root.Refuse({"mini_batches", "questions"}, "does not divide questions");
  MINKE_TRY(file.Finish());
  return c;
}

}  // namespace minke
