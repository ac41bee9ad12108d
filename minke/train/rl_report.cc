#include "minke/train/rl_report.h"

#include <string>

namespace minke {

Status WriteRlMetrics(const RlConfig& config, const RlReport& r, MetricsWriter& metrics) {
  std::vector<MetricField> fields = {{"reward", r.all.reward},
                                     {"accuracy", r.all.accuracy},
                                     {"think_tokens", r.all.think_tokens},
                                     {"forced", r.all.forced},
                                     {"formatted", r.all.formatted},
                                     {"tokens", r.tokens},
                                     {"cut", r.cut},
                                     {"skipped_questions", r.skipped_questions},
                                     {"on_policy_max_abs_diff", r.on_policy_max_abs_diff},
                                     {"loss", r.loss},
                                     {"kl", r.kl},
                                     {"norm", r.norm},
                                     {"clipped", r.clipped},
                                     {"masked", r.masked},
                                     {"mean_ratio_log", r.mean_ratio_log},
                                     {"max_ratio_log", r.max_ratio_log},
                                     {"rollout_seconds", r.rollout_seconds},
                                     {"learn_seconds", r.learn_seconds},
                                     {"cpu_seconds", r.cpu_seconds}};
  if (config.has_judge()) {
    fields.push_back({"judge", r.judge});
    fields.push_back({"judge_failed", r.judge_failed});
    fields.push_back({"judge_seconds", r.judge_seconds});
  }
  std::vector<std::string> names;
  names.reserve(2 * r.tasks.size());
  if (r.tasks.size() > 1) {
    for (size_t t = 0; t < r.tasks.size(); ++t) {
      names.push_back("accuracy." + config.tasks[t].name);
      fields.push_back({names.back(), r.tasks[t].accuracy});
      names.push_back("think_tokens." + config.tasks[t].name);
      fields.push_back({names.back(), r.tasks[t].think_tokens});
    }
  }
  return metrics.Write(r.step, fields);
}

}  // namespace minke
