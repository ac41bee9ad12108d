#include "minke/train/countdown.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

namespace minke {
namespace {

// Calls visit with every attempt over `pool`, `steps` being those made so far.
template <class Visit>
void Enumerate(const std::vector<int>& pool, std::vector<Step>& steps, const Visit& visit) {
  if (pool.size() == 1) return visit(steps);
  for (size_t i = 0; i < pool.size(); ++i) {
    for (size_t j = 0; j < pool.size(); ++j) {
      if (i == j) continue;
      for (const char op : kOperators) {
        const std::optional<int> result = Combine(pool[i], op, pool[j]);
        if (!result) continue;
        std::vector<int> rest;
        for (size_t k = 0; k < pool.size(); ++k)
          if (k != i && k != j) rest.push_back(pool[k]);
        rest.push_back(*result);
        steps.push_back({pool[i], pool[j], op, *result});
        Enumerate(rest, steps, visit);
        steps.pop_back();
      }
    }
  }
}

}  // namespace

std::optional<int64_t> Calculate(int64_t a, char op, int64_t b) {
  switch (op) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    default:
      break;
  }
  if (op != '/' || b == 0 || a % b != 0) return std::nullopt;
  return a / b;
}

std::optional<int> Combine(int a, char op, int b) {
  const std::optional<int64_t> result = Calculate(a, op, b);
  if (!result || *result < 1 || *result > 99) return std::nullopt;
  return static_cast<int>(*result);
}

std::string Text(const Attempt& attempt) {
  std::string text;
  for (const Step& step : attempt.steps) {
    if (!text.empty()) text += ',';
    text += fmt::format("{}{}{}={}", step.a, step.op, step.b, step.result);
  }
  return text;
}

std::string Expression(const Attempt& attempt) {
  struct Made {
    int value;
    std::string text;
  };
  std::vector<Made> made;  // results not used yet; among equal values any does
  const auto take = [&](int value) {
    const auto found = std::ranges::find(made, value, &Made::value);
    if (found == made.end()) return std::to_string(value);
    std::string text = "(" + found->text + ")";
    made.erase(found);
    return text;
  };
  for (const Step& step : attempt.steps) {
    std::string text = take(step.a) + step.op;
    text += take(step.b);
    made.push_back({step.result, std::move(text)});
  }
  return made.back().text;
}

char Mark(int result, int target) { return result < target ? '<' : result > target ? '>' : '!'; }

Attempt RandomAttempt(std::span<const int> numbers, Draws& draws) {
  Attempt attempt;
  std::vector<int> pool(numbers.begin(), numbers.end());
  while (pool.size() > 1) {  // there is always a step: a-b for a > b, a/b for a = b
    const size_t i = static_cast<size_t>(draws.Below(static_cast<int>(pool.size())));
    const size_t j = static_cast<size_t>(draws.Below(static_cast<int>(pool.size())));
    if (i == j) continue;
    const char op = draws.Choose(kOperators);
    const std::optional<int> result = Combine(pool[i], op, pool[j]);
    if (!result) continue;
    attempt.steps.push_back({pool[i], pool[j], op, *result});
    pool.erase(pool.begin() + static_cast<ptrdiff_t>(std::max(i, j)));
    pool.erase(pool.begin() + static_cast<ptrdiff_t>(std::min(i, j)));
    pool.push_back(*result);
  }
  return attempt;
}

std::vector<Attempt> AllAttempts(std::span<const int> numbers) {
  std::vector<Attempt> all;
  std::unordered_set<std::string> seen;
  std::vector<Step> steps;
  Enumerate({numbers.begin(), numbers.end()}, steps, [&](const std::vector<Step>& made) {
    if (Attempt attempt{made}; seen.insert(Text(attempt)).second) all.push_back(std::move(attempt));
  });
  return all;
}

std::vector<Attempt> Search(std::span<const int> numbers, int target, Searcher searcher, SearchLimits limits,
                            Draws& draws) {
  std::vector<Attempt> made;
  if (searcher == Searcher::kRandom) {
    const int most = draws.Between(1, limits.random_most);
    do {
      made.push_back(RandomAttempt(numbers, draws));
    } while (made.back().result() != target && static_cast<int>(made.size()) < most);
    return made;
  }
  const int most = draws.Between(limits.guided_least, limits.guided_most);
  // Each attempt waits for a time drawn with a rate that falls with its distance; the order is that of the times.
  struct Waiting {
    double time;
    const Attempt* attempt;
  };
  const std::vector<Attempt> all = AllAttempts(numbers);
  std::vector<Waiting> waiting;
  for (const Attempt& attempt : all) {
    const double distance = std::abs(attempt.result() - target);
    waiting.push_back({-std::log1p(-draws.Unit()) * (6 + distance), &attempt});
  }
  std::ranges::sort(waiting, {}, [](const Waiting& w) { return std::pair(w.time, w.attempt); });
  for (const Waiting& next : waiting) {
    made.push_back(*next.attempt);
    if (made.back().result() == target || static_cast<int>(made.size()) == most) break;
  }
  return made;
}

Problem DrawCountdown(int count, Draws& draws) {
  CountdownFacts facts;
  std::vector<bool> reachable;
  std::vector<int> targets;
  while (targets.empty()) {  // 1 1 1 reaches nothing
    facts.numbers.clear();
    for (int i = 0; i < count; ++i) facts.numbers.push_back(draws.Between(1, 12));
    reachable.assign(100, false);
    std::vector<Step> steps;
    Enumerate(facts.numbers, steps,
              [&](const std::vector<Step>& made) { reachable[size_t(made.back().result)] = true; });
    for (int target = 10; target < 100; ++target)
      if (reachable[static_cast<size_t>(target)]) targets.push_back(target);
  }
  facts.target = draws.Choose(targets);

  Problem problem;
  const std::vector<int>& n = facts.numbers;
  const std::string spaced = fmt::format("{}", fmt::join(n, " "));
  const std::string listed = fmt::format("{} and {}", fmt::join(std::span(n).first(n.size() - 1), ", "), n.back());
  const int t = facts.target;
  const std::string wordings[] = {fmt::format("Make {} from {}.", t, spaced),
                                  fmt::format("Make {} from {}.", t, listed),
                                  fmt::format("Use {} to make {}.", listed, t),
                                  fmt::format("Reach {} with the numbers {}.", t, spaced),
                                  fmt::format("Can you get {} out of {}?", t, listed),
                                  fmt::format("Numbers: {}. Target: {}.", spaced, t),
                                  fmt::format("{} = {}", spaced, t),
                                  fmt::format("How do I make {} from {}?", t, spaced)};
  problem.prompt = draws.Choose(wordings);
  problem.facts = {{"numbers", n}, {"target", t}};
  std::vector<int> sorted = n;
  std::ranges::sort(sorted);
  problem.id = fmt::format("{}={}", fmt::join(sorted, " "), t);
  return problem;
}

Result<Problem> ReadCountdown(int count, const Json& line) {
  const auto whole = [](const Json& value, int least, int most) {
    return value.is_number_integer() && value.get<double>() >= least && value.get<double>() <= most;
  };
  if (!HasTexts(line, {"prompt"}) || !line.contains("numbers") || !line["numbers"].is_array() ||
      line["numbers"].size() != static_cast<size_t>(count) || !line.contains("target") || !whole(line["target"], 1, 99))
    return Fail(Code::kDamaged, "expected \"prompt\", {} \"numbers\" and a \"target\" in 1..99", count);
  for (const Json& number : line["numbers"])
    if (!whole(number, 1, 99)) return Fail(Code::kDamaged, "numbers: expected whole numbers in 1..99");
  Problem problem;
  problem.prompt = line["prompt"];
  problem.facts = {{"numbers", line["numbers"]}, {"target", line["target"]}};
  std::vector<int> sorted = line["numbers"];
  std::ranges::sort(sorted);
  problem.id = fmt::format("{}={}", fmt::join(sorted, " "), line["target"].get<int>());
  return problem;
}

CountdownFacts FactsOf(const Problem& problem) {
  return {problem.facts.at("numbers").get<std::vector<int>>(), problem.facts.at("target").get<int>()};
}

}  // namespace minke
