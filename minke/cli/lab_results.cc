#include "minke/cli/lab_results.h"

#include <algorithm>
#include <cmath>

#include "minke/cli/lab_claims.h"
#include "minke/cli/lab_cost.h"
#include "minke/cli/lab_targets.h"
#include "minke/cli/machine.h"
#include "minke/cli/version.h"

namespace minke {
namespace {

using Jobs = std::map<std::string, LabResult>;

// Of a curve, the mean over windows of so many steps.
constexpr size_t kWindow = 5;

// "accuracy", ... of evaluations, by [quantity][arm][budget] over seeds.
constexpr const char* kQuantities[] = {
    "accuracy",      "think_tokens", "output_tokens", "attempts", "distinct_attempts",
    "correct_steps", "gave_up",      "forced",        "ended"};

std::vector<double> Values(const Jobs& jobs, const std::string& arm, int64_t seeds, const std::string& budget,
                           const std::function<const Json*(const Json&)>& get) {
  std::vector<double> values;
  for (int64_t seed = 1; seed <= seeds; ++seed) {
    const auto job = jobs.find(EvalJobName(arm, seed));
    if (job == jobs.end() || !job->second.result.contains(budget)) continue;
    const Json* value = get(job->second.result.at(budget));
    if (value && value->is_number()) values.push_back(*value);
  }
  return values;
}

const Json* Find(const Json& json, const char* key) {
  return json.is_object() && json.contains(key) ? &json.at(key) : nullptr;
}

void AddEvaluations(const LabSetup& setup, const Jobs& jobs, Json& results) {
  std::vector<std::string> arms = {"sft"};
  for (const LabArm& arm : setup.recipe.arms) arms.emplace_back(arm.name);
  for (const std::string& arm : arms)
    for (const int64_t budget_number : setup.recipe.eval.budgets) {
      const std::string budget = std::to_string(budget_number);
      const auto add = [&](const std::string& quantity, const std::function<const Json*(const Json&)>& get) {
        results[quantity][arm][budget] = MeanOf(Values(jobs, arm, setup.seeds, budget, get));
      };
      for (const char* quantity : kQuantities) add(quantity, [&](const Json& entry) { return Find(entry, quantity); });
      for (const char* attempts : {"2", "4", "8"})
        add(fmt::format("within_{}", attempts), [&](const Json& entry) -> const Json* {
          const Json* within = Find(entry, "within");
          return within ? Find(*within, attempts) : nullptr;
        });
      add("cpu_seconds_evaluation", [](const Json& entry) { return Find(entry, "cpu_seconds"); });
      // Of the mean over seeds, that is over problems and draws: as of a share of all answers.
      Json& accuracy = results["accuracy"][arm][budget];
      if (accuracy.is_null()) continue;
      const double p = accuracy["mean"];
      const double answers =
          static_cast<double>(setup.recipe.eval.problems) * static_cast<double>(accuracy["seeds"].size());
      accuracy["standard_error"] = std::sqrt(p * (1 - p) / answers);
      const Json& tokens = results["output_tokens"][arm][budget];
      const Json& cpu = results["cpu_seconds_evaluation"][arm][budget];
      const double solved = p * static_cast<double>(setup.recipe.eval.problems);
      results["tokens_per_solved"][arm][budget] = p > 0 ? Json(tokens["mean"].get<double>() / p) : Json();
      results["cpu_seconds_per_solved"][arm][budget] = solved > 0 ? Json(cpu["mean"].get<double>() / solved) : Json();
    }
}

// Mean of curve[key] over the `count` steps that end at `end`.
double MeanBefore(const Json& curve, const char* key, size_t end, size_t count) {
  double sum = 0;
  end = std::min(end, curve.at(key).size());
  const size_t begin = end > count ? end - count : 0;
  for (size_t i = begin; i < end; ++i) sum += curve.at(key).at(i).get<double>();
  return sum / static_cast<double>(std::max<size_t>(1, end - begin));
}

void AddCurves(const LabSetup& setup, const Jobs& jobs, Json& results) {
  double equal = INFINITY, difference = 0;
  std::map<std::string, std::vector<const Json*>> runs;
  for (const LabArm& arm : setup.recipe.arms)
    for (int64_t seed = 1; seed <= setup.seeds; ++seed)
      if (const auto job = jobs.find(RlJobName(arm, seed)); job != jobs.end()) {
        runs[arm.name].push_back(&job->second.result);
        equal = std::min(equal, job->second.result.at("cpu_seconds").get<double>());
      }
  for (const auto& [name, job] : jobs)
    if (const Json* value = Find(job.result, "on_policy_max_abs_diff"))
      difference = std::max(difference, value->get<double>());
  results["on_policy_max_abs_diff"] = difference;
  for (const LabArm& arm : setup.recipe.arms) {
    if (!runs.contains(arm.name)) continue;
    Json entry = {{"length_penalty", arm.length_penalty}, {"think_budget", arm.think_budget}, {"steps", arm.steps}};
    std::vector<double> cpu, accuracy, thinking, steps_then;
    Json curve = {{"step", Json::array()},
                  {"cpu_seconds", Json::array()},
                  {"accuracy", Json::array()},
                  {"think_tokens", Json::array()}};
    for (const Json* run : runs[arm.name]) {
      const Json& c = run->at("curve");
      cpu.push_back(run->at("cpu_seconds"));
      size_t end = 0;
      while (end < c.at("cpu_seconds").size() && c.at("cpu_seconds")[end].get<double>() <= equal) ++end;
      accuracy.push_back(MeanBefore(c, "accuracy", end, kWindow));
      thinking.push_back(MeanBefore(c, "think_tokens", end, kWindow));
      steps_then.push_back(static_cast<double>(end));
    }
    for (size_t end = std::min(kWindow, static_cast<size_t>(arm.steps)); end <= static_cast<size_t>(arm.steps);
         end += kWindow) {
      curve["step"].push_back(end);
      for (const char* key : {"accuracy", "think_tokens", "cpu_seconds"}) {
        double sum = 0;
        const size_t window = std::string_view(key) == "cpu_seconds" ? 1 : kWindow;
        for (const Json* run : runs[arm.name]) sum += MeanBefore(run->at("curve"), key, end, window);
        curve[key].push_back(sum / static_cast<double>(runs[arm.name].size()));
      }
    }
    entry["cpu_seconds"] = MeanOf(cpu);
    entry["equal_cpu"] = {{"cpu_seconds", equal},
                          {"steps", MeanOf(steps_then)},
                          {"accuracy", MeanOf(accuracy)},
                          {"think_tokens", MeanOf(thinking)}};
    entry["curve"] = curve;
    results["rl"][arm.name] = entry;
  }
}

void AddParity(const Jobs& jobs, Json& results) {
  double before = 0;
  for (const char* name : {"dense", "sparse"})
    if (const auto job = jobs.find(name); job != jobs.end()) {
      results["training"][name] = job->second.result;
      before += job->second.result.at("cpu_seconds").get<double>();
    }
  if (before > 0) results["training"]["cpu_seconds"] = before;
  if (const auto job = jobs.find("parity"); job != jobs.end())
    for (const auto& [key, value] : job->second.result.items()) results[key] = value;
  for (const char* kind : {"dense", "sparse"})
    if (const auto job = jobs.find(fmt::format("parity-{}", kind)); job != jobs.end())
      for (const auto& [budget, score] : job->second.result.items()) {
        results[fmt::format("{}_accuracy", kind)] = score.at("accuracy");
        results[fmt::format("{}_accuracy_standard_error", kind)] = score.at("standard_error");
      }
  if (const auto job = jobs.find("lookup"); job != jobs.end()) results["lookup"] = job->second.result;
}

void AddMixed(const Jobs& jobs, Json& results) {
  const auto score = [&](const std::string& model, const std::string& task) -> Json {
    const auto job = jobs.find(MixEvalJobName(model, task));
    if (job == jobs.end() || job->second.result.empty()) return {};
    const Json& entry = job->second.result.begin().value();
    return {{"accuracy", entry.at("accuracy")},
            {"standard_error", entry.at("standard_error")},
            {"think_tokens", entry.at("think_tokens")},
            {"correct_steps", entry.at("correct_steps")}};
  };
  for (const std::string task : kMixTasks) {
    const std::string own = task == "countdown" ? "specialist-countdown" : "specialist-tool";
    if (score("sft", task).is_null()) continue;
    for (const auto& [key, model] :
         {std::pair<std::string, std::string>{"sft", "sft"},
          {"specialist", own},
          {"other_specialist", task == "countdown" ? "specialist-tool" : "specialist-countdown"},
          {"distilled", "distilled"},
          {"mixed", "mixed"}})
      results["mixed"][key][task] = score(model, task);
    if (const auto job = jobs.find("samples-" + task); job != jobs.end())
      results["mixed"]["accepted"][task] = job->second.result;
  }
}

// Savings at the longest position, by phase.
void AddCost(const Jobs& jobs, Json& results) {
  results["prices"] = PriceTable();
  const auto job = jobs.find("cost");
  if (job == jobs.end()) return;
  Json& cost = results["cost"] = job->second.result;
  for (const char* phase : {"prefill", "decode"}) {
    double dense = 0, sparse = 0;
    int64_t position = -1;
    for (const Json& row : cost["rows"]) {
      if (row["phase"] != phase || row["position"].get<int64_t>() < position) continue;
      if (row["position"].get<int64_t>() > position) dense = sparse = 0;
      position = row["position"];
      (row["attention"] == "dense" ? dense : sparse) = row["usd_per_million"];
    }
    if (dense > 0 && sparse > 0) cost["saving"][phase] = {{"position", position}, {"share", 1 - sparse / dense}};
  }
}

}  // namespace

Json MeanOf(std::span<const double> values) {
  if (values.empty()) return {};
  const double count = static_cast<double>(values.size());
  double mean = 0, square = 0;
  for (const double value : values) mean += value / count;
  for (const double value : values) square += (value - mean) * (value - mean);
  return {{"mean", mean},
          {"spread", values.size() > 1 ? Json(std::sqrt(square / (count - 1))) : Json()},
          {"seeds", std::vector<double>(values.begin(), values.end())}};
}

Json CollectLabResults(const LabSetup& setup, const Jobs& jobs) {
  Json results = {{"version", 1},
                  {"minke", Version()},
                  {"machine", MachineJson(ReadMachine())},
                  {"recipe", setup.recipe.ToJson()},
                  {"seeds", setup.seeds},
                  {"start", setup.start.empty() ? Json() : Json(setup.start)},
                  {"parts", setup.parts}};
  AddCurves(setup, jobs, results);
  if (setup.Has("budget")) AddEvaluations(setup, jobs, results);
  AddParity(jobs, results);
  AddMixed(jobs, results);
  AddCost(jobs, results);
  if (const auto job = jobs.find("kernels"); job != jobs.end()) results["kernels"] = job->second.result["sets"];
  for (const auto& [name, job] : jobs) results["seconds"][name] = job.seconds;
  AddComparisons(results);
  for (const LabTarget& target : JudgeLabTargets(results)) results["targets"][target.key] = target.ToJson();
  for (const LabClaim& claim : JudgeLabClaims(results))
    results["claims"][std::to_string(claim.number)] = claim.ToJson();
  return results;
}

}  // namespace minke
