#include "minke/cli/lab_report.h"

#include <algorithm>
#include <map>

#include "minke/cli/chart.h"
#include "minke/cli/lab_claims.h"
#include "minke/cli/lab_targets.h"

namespace minke {
namespace {

constexpr const char* kStyle =
    "body{font-family:sans-serif;max-width:62em;margin:2em auto;padding:0 1em;line-height:1.45;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left;"
    "vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto}"
    "code{background:#f2f2f2;padding:0 .2em}.small{font-size:85%;color:#555}";

struct Html {
  std::string text;

  void Heading(const std::string& title) { text += "<h2>" + XmlText(title) + "</h2>\n"; }
  void Say(const std::string& words) { text += "<p>" + XmlText(words) + "</p>\n"; }
  void Small(const std::string& words) { text += "<p class=\"small\">" + XmlText(words) + "</p>\n"; }
  void Table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows) {
    text += "<table>\n<tr>";
    for (const std::string& cell : head) text += "<th>" + XmlText(cell) + "</th>";
    text += "</tr>\n";
    for (const auto& row : rows) {
      text += "<tr>";
      for (const std::string& cell : row) {
        const bool number = !cell.empty() && cell.find_first_not_of("0123456789.,+-% ±") == std::string::npos;
        text += fmt::format("<td{}>{}</td>", number ? " class=\"n\"" : "", XmlText(cell));
      }
      text += "</tr>\n";
    }
    text += "</table>\n";
  }
};

std::string Share(const Json& value) {
  return value.is_number() ? fmt::format("{:.1f} %", 100 * value.get<double>()) : "-";
}
std::string Number(const Json& value, int digits = 1) {
  return value.is_number() ? fmt::format("{:.{}f}", value.get<double>(), digits) : "-";
}
Json Of(const Json& json, std::initializer_list<std::string> path) {
  Json at = json;
  for (const std::string& key : path) {
    if (!at.is_object() || !at.contains(key)) return {};
    at = Json(at[key]);
  }
  return at;
}

// "61.2 ± 1.4": mean and standard error of a share.
std::string WithError(const Json& entry) {
  const Json mean = Of(entry, {"mean"}), error = Of(entry, {"standard_error"});
  if (!mean.is_number()) return "-";
  return fmt::format("{:.1f} ± {:.1f}", 100 * mean.get<double>(), error.is_number() ? 100 * error.get<double>() : 0);
}

// Arms that were asked, the start first, in the order of the recipe.
std::vector<std::string> Arms(const Json& results) {
  std::vector<std::string> arms = {"sft"};
  for (const Json& arm : results["recipe"]["arms"]) arms.push_back(arm["name"]);
  return arms;
}
std::vector<int64_t> Budgets(const Json& results) {
  return results["recipe"]["eval"]["budgets"].get<std::vector<int64_t>>();
}

void Claims(const Json& results, Html& html) {
  html.Heading("What was claimed, and what we measured");
  std::vector<std::vector<std::string>> rows;
  for (const auto& [number, claim] : results["claims"].items())
    rows.push_back({number, claim["claim"], claim["measured"].get<std::string>().empty() ? "-" : claim["measured"],
                    claim["verdict"], claim["rule"], claim["scale"]});
  html.Table({"#", "claim", "measured here", "verdict", "rule", "why the scale may matter"}, rows);
}

const char* Verdict(const LabTarget& target) {
  return !target.holds ? "not measured" : *target.holds ? "holds" : "does not hold";
}

void Targets(const Json& results, Html& html) {
  html.Heading("What a full run is to reach");
  std::vector<std::vector<std::string>> rows;
  for (const LabTarget& target : JudgeLabTargets(results))
    rows.push_back({target.wanted, target.measured.empty() ? "-" : target.measured, Verdict(target)});
  html.Table({"wanted", "measured here", ""}, rows);
}

void Recall(const std::string& what, const Json& recall, Html& html) {
  if (!recall.is_object()) return;
  ChartPanel panel{"Dense attention caught by the selection: " + what, "position", "share", {}};
  ChartLine mass{"of the mass", {}}, top{"of the largest", {}}, random{"by chance", {}};
  for (const Json& entry : recall["by_position"]) {
    const double at = entry["from"];
    mass.points.emplace_back(at, entry["mass"]), top.points.emplace_back(at, entry["topk"]);
    random.points.emplace_back(at, entry["random"]);
  }
  if (mass.points.empty()) return;
  panel.lines = {mass, top, random};
  ChartPanel layers{"The same by layer", "layer", "share", {}};
  for (ChartLine* line : {&mass, &top, &random}) line->points.clear();
  double layer = 0;
  for (const Json& entry : recall["by_layer"]) {
    mass.points.emplace_back(layer, entry["mass"]), top.points.emplace_back(layer, entry["topk"]);
    random.points.emplace_back(layer, entry["random"]);
    ++layer;
  }
  layers.lines = {mass, top, random};
  html.text += ChartSvg("Recall of the indexer", std::vector{panel, layers});
}

void Parity(const Json& results, Html& html) {
  if (Of(results, {"dense_loss"}).is_number()) {
    html.Heading("(a) Sparse against dense attention");
    html.Say(
        "From random weights: dense training, a warm-up of the indexers alone, then sparse training of both. The "
        "control goes on densely for as many steps, with the same data and rates.");
    html.Table({"attention", "held-out loss", "accuracy %"},
               {{"dense (control)", Number(results["dense_loss"], 4),
                 WithError({{"mean", Of(results, {"dense_accuracy"})},
                            {"standard_error", Of(results, {"dense_accuracy_standard_error"})}})},
                {"sparse", Number(results["sparse_loss"], 4),
                 WithError({{"mean", Of(results, {"sparse_accuracy"})},
                            {"standard_error", Of(results, {"sparse_accuracy_standard_error"})}})},
                {"sparse weights, run densely", Number(Of(results, {"sparse_weights_dense_loss"}), 4), "-"}});
    Recall("countdown", Of(results, {"recall"}), html);
  }
  const Json lookup = Of(results, {"lookup"});
  if (!lookup.is_object()) return;
  html.Heading("(a) Finding a record in a long document");
  html.Say(fmt::format(
      "{}: every token of the answer right, by greedy decoding, on {} held-out documents; each query "
      "attends to {} positions.",
      lookup["task"].get<std::string>(), lookup["problems"].get<int64_t>(), lookup["index_topk"].get<int64_t>()));
  html.Table({"selection", "exact"}, {{"all positions (dense)", Share(lookup["dense"])},
                                      {"trained indexer", Share(lookup["indexer"])},
                                      {"random", Share(lookup["random"])},
                                      {"last positions (window)", Share(lookup["window"])}});
  Recall("lookup", Of(lookup, {"recall"}), html);
}

void Curves(const Json& results, Html& html) {
  const Json rl = Of(results, {"rl"});
  if (!rl.is_object()) return;
  html.Heading("(b) Reinforcement learning, by dose of the length penalty");
  ChartPanel by_step{"Accuracy in training", "step", "%", {}}, by_cpu{"The same", "CPU seconds", "%", {}},
      thinking{"Thinking tokens", "CPU seconds", "tokens", {}};
  std::vector<std::vector<std::string>> rows;
  for (const Json& arm : results["recipe"]["arms"]) {
    const std::string name = arm["name"];
    const Json entry = Of(rl, {name});
    if (!entry.is_object()) continue;
    ChartLine a{name, {}}, b{name, {}}, c{name, {}};
    const Json& curve = entry["curve"];
    for (size_t i = 0; i < curve["step"].size(); ++i) {
      const double cpu = curve["cpu_seconds"][i], accuracy = 100 * curve["accuracy"][i].get<double>();
      a.points.emplace_back(curve["step"][i], accuracy), b.points.emplace_back(cpu, accuracy);
      c.points.emplace_back(cpu, curve["think_tokens"][i]);
    }
    by_step.lines.push_back(a), by_cpu.lines.push_back(b), thinking.lines.push_back(c);
    const Json& equal = entry["equal_cpu"];
    rows.push_back({name, Number(entry["length_penalty"]), Number(entry["think_budget"], 0), Number(entry["steps"], 0),
                    Number(Of(entry, {"cpu_seconds", "mean"}), 0), Number(Of(equal, {"steps", "mean"}), 0),
                    Share(Of(equal, {"accuracy", "mean"})), Number(Of(equal, {"think_tokens", "mean"}), 0)});
  }
  html.text += ChartSvg("Means over seeds and windows of five steps", std::vector{by_step, by_cpu, thinking});
  html.Table({"arm", "penalty per 100 tokens", "budget", "steps", "CPU seconds", "steps at equal CPU time",
              "accuracy then", "thinking tokens then"},
             rows);
  html.Say(
      fmt::format("Largest difference between the log-probabilities of rollout and learner before an update, over "
                  "all runs: {}.",
                  results["on_policy_max_abs_diff"].get<double>()));
}

void Speciale(const Json& results, Html& html) {
  if (!Of(results, {"accuracy"}).is_object()) return;
  html.Heading("(c) Accuracy against thinking budget");
  ChartPanel accuracy{"Accuracy", "thinking budget (tokens)", "%", {}},
      thinking{"Thinking used", "thinking budget (tokens)", "tokens", {}};
  std::vector<std::vector<std::string>> table, search;
  std::vector<std::string> head = {"model"};
  for (const int64_t budget : Budgets(results)) head.push_back(std::to_string(budget));
  for (const std::string& arm : Arms(results)) {
    ChartLine line{arm, {}}, think{arm, {}};
    std::vector<std::string> row = {arm};
    for (const int64_t budget : Budgets(results)) {
      const std::string key = std::to_string(budget);
      const Json entry = Of(results, {"accuracy", arm, key});
      row.push_back(WithError(entry));
      if (!entry.is_object()) continue;
      const double x = static_cast<double>(budget);
      line.points.emplace_back(x, 100 * entry["mean"].get<double>());
      line.errors.push_back(100 * entry["standard_error"].get<double>());
      think.points.emplace_back(x, Of(results, {"think_tokens", arm, key, "mean"}).get<double>());
      search.push_back(
          {arm, key, Number(Of(results, {"think_tokens", arm, key, "mean"})),
           Share(Of(results, {"within_2", arm, key, "mean"})), Share(Of(results, {"within_4", arm, key, "mean"})),
           Share(Of(results, {"within_8", arm, key, "mean"})),
           Share(Of(results, {"distinct_attempts", arm, key, "mean"})),
           Share(Of(results, {"correct_steps", arm, key, "mean"})),
           Number(Of(results, {"tokens_per_solved", arm, key}), 0),
           Number(Of(entry, {"spread"}).is_number() ? Json(100 * entry["spread"].get<double>()) : Json())});
    }
    table.push_back(row);
    accuracy.lines.push_back(line), thinking.lines.push_back(think);
  }
  html.text += ChartSvg("Held-out problems, temperature 1", std::vector{accuracy, thinking});
  html.Say("Accuracy in percent with its standard error (problems and draws together):");
  html.Table(head, table);
  html.Say(
      "Length by persistence alone is easy; the search itself is better only where more is solved within the same "
      "number of attempts.");
  html.Table({"model", "budget", "thinking tokens", "solved within 2 attempts", "within 4", "within 8",
              "distinct attempts", "correct steps", "tokens for a solved problem", "spread over seeds (points)"},
             search);
}

void Cost(const Json& results, Html& html) {
  const Json cost = Of(results, {"cost"});
  html.Heading("(d) Cost");
  if (cost.is_object()) {
    std::map<std::string, ChartPanel> panels;
    for (const Json& row : cost["rows"]) {
      const std::string phase = row["phase"], attention = row["attention"];
      ChartPanel& panel = panels[phase];
      panel.title = phase, panel.x_label = "token position (K)", panel.y_label = "USD per million tokens";
      auto line = std::ranges::find(panel.lines, attention, &ChartLine::name);
      if (line == panel.lines.end()) line = panel.lines.insert(line, ChartLine{attention, {}});
      line->points.emplace_back(row["position"].get<double>() / 1024, row["usd_per_million"]);
    }
    std::vector<ChartPanel> list;
    for (auto& [phase, panel] : panels) list.push_back(panel);
    html.text += ChartSvg("Cost of a million tokens against position", list);
    html.Small(fmt::format("{}; {} threads, {} USD an hour.", cost["model"].get<std::string>(),
                           cost["threads"].get<int>(), cost["usd_per_hour"].get<double>()));
  }
  std::vector<std::vector<std::string>> rows;
  for (const Json& row : results["prices"]["rows"])
    rows.push_back({row["name"], row["since"], Number(row["cached"], 3), Number(row["input"], 2),
                    Number(row["output"], 2), Number(row["times"])});
  html.Table({"published prices, USD per million tokens", "since", "cached input", "input", "output",
              "times DeepSeek-V3.2's output"},
             rows);
}

void Mixed(const Json& results, Html& html) {
  const Json mixed = Of(results, {"mixed"});
  if (!mixed.is_object()) return;
  html.Heading("(f) Specialists, distillation, mixed RL");
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, title] : {std::pair<std::string, std::string>{"sft", "start"},
                                   {"specialist", "its own specialist"},
                                   {"other_specialist", "the other specialist"},
                                   {"distilled", "distilled from both"},
                                   {"mixed", "after mixed RL"}}) {
    std::vector<std::string> row = {title};
    for (const std::string task : {"countdown", "countdown-tool"}) {
      const Json entry = Of(mixed, {key, task});
      row.push_back(WithError({{"mean", Of(entry, {"accuracy"})}, {"standard_error", Of(entry, {"standard_error"})}}));
    }
    rows.push_back(row);
  }
  html.Table({"model", "countdown %", "countdown-tool %"}, rows);
  const Json accepted = Of(mixed, {"accepted"});
  for (const auto& [task, samples] : accepted.items())
    html.Small(fmt::format("{}: {} of {} answers of the specialist were accepted and learnt{}.", task,
                           samples["accepted"].get<int64_t>(), samples["rollouts"].get<int64_t>(),
                           samples["demonstrations"] > 0 ? ", with demonstrations, since they were too few" : ""));
}

void Shortfalls(const Json& results, Html& html) {
  html.Heading("What fell short, and why");
  bool any = false;
  html.text += "<ul>\n";
  for (const auto& [number, claim] : results["claims"].items()) {
    const std::string verdict = claim["verdict"];
    if (verdict == Name(LabVerdict::kHolds)) continue;
    any = true;
    html.text += fmt::format("<li>Claim {} {}. Rule: {}. {}</li>\n", number, XmlText(verdict),
                             XmlText(claim["rule"].get<std::string>()), XmlText(claim["scale"].get<std::string>()));
  }
  for (const LabTarget& target : JudgeLabTargets(results)) {
    if (target.holds.value_or(false)) continue;
    any = true;
    html.text += fmt::format("<li>Wanted: {}. {}</li>\n", XmlText(target.wanted),
                             XmlText(target.holds ? "It does not hold: " + target.measured + "." : "Not measured."));
  }
  html.text += any ? "</ul>\n" : "<li>Nothing.</li></ul>\n";
  if (results["recipe"]["scale"] != 1)
    html.Say(fmt::format("All steps and problems were scaled by {}: the numbers say that the way works, not how well.",
                         results["recipe"]["scale"].get<double>()));
}

}  // namespace

std::string LabReport(const Json& results, const std::string& command) {
  Html html;
  html.text = fmt::format(
      "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<title>minke lab</title>\n<style>{}</style>\n</head>\n<body>\n<h1>DeepSeek-V3.2's recipe on this machine</h1>\n",
      kStyle);
  const Json& cpu = results["machine"]["cpu"];
  html.Say(fmt::format("minke {} on {} ({} cores, {:.0f} GB). {} seed{}. Made by: {}",
                       results["minke"].get<std::string>(), cpu["name"].get<std::string>(), cpu["online"].get<int>(),
                       results["machine"]["memory"]["total_bytes"].get<double>() / 1e9, results["seeds"].get<int>(),
                       results["seeds"] == 1 ? "" : "s", command));
  html.Small(
      "All numbers are in results.json beside this page, every answer and every step in the folder jobs. Everything "
      "but times is the same when it is run again.");
  Claims(results, html);
  Targets(results, html);
  Parity(results, html);
  Curves(results, html);
  Speciale(results, html);
  Cost(results, html);
  Mixed(results, html);
  Shortfalls(results, html);
  return html.text + "</body>\n</html>\n";
}

}  // namespace minke
