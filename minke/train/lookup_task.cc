// lookup: values of keys in a long document, to train and test attention that selects few positions of many. The
// document is LENGTH tokens of nano's vocabulary (every number from 10 to 99 and every sign is one): up to eight
// records, a sign and its number, among numbers that belong to nothing. The question names KEYS signs; the thinking
// copies their records, the answer has their numbers:
//
//   63,+42,80,...,!91,12,?+        +42        42
//
// With a number for a key (17=42) a model of nano's size learns in 8 M tokens to name some value of the document and
// not whose it is; with a sign right before its number, whose it is after 2 M.
#include <numeric>

#include "minke/train/task_kinds.h"

namespace minke {
namespace {

constexpr int kLeast = 10, kMost = 99;  // numbers with a token of their own and no leading zero
constexpr std::string_view kSigns = "+-*/<>!=";
constexpr int kShortest = 16;

int RecordsOf(int length) { return std::min(static_cast<int>(kSigns.size()), length / 6); }  // at most half of it

struct LookupFacts {
  std::vector<std::string> keys;
  std::vector<int> values;
};

class Lookup : public Task {
 public:
  Lookup(int length, int keys) : length_(length), keys_(keys) {}

  std::string name() const override { return fmt::format("lookup:{}:{}", length_, keys_); }

  Result<Problem> Read(const Json& line) const override {
    Problem problem;
    const auto list = [&](const char* name, auto&& good) {
      if (!line.contains(name) || !line[name].is_array() || line[name].size() != static_cast<size_t>(keys_))
        return false;
      problem.facts[name] = line[name];
      return std::ranges::all_of(line[name], good);
    };
    const auto sign = [](const Json& key) {
      return key.is_string() && key.get_ref<const std::string&>().size() == 1 &&
             kSigns.find(key.get_ref<const std::string&>()) != std::string_view::npos;
    };
    const auto number = [](const Json& value) {
      return value.is_number_integer() && value.get<double>() >= kLeast && value.get<double>() <= kMost;
    };
    if (!HasTexts(line, {"prompt"}) || !list("keys", sign) || !list("values", number))
      return Fail(Code::kDamaged, "expected \"prompt\", {} \"keys\" of {} and as many \"values\" in {}..{}", keys_,
                  kSigns, kLeast, kMost);
    problem.prompt = line["prompt"];
    problem.id = problem.prompt;
    return problem;
  }

  // Steps are the values, in their places.
  Verdict Judge(const Problem& problem, std::string_view reasoning, std::string_view content) const override {
    const LookupFacts facts = FactsOf(problem);
    Verdict verdict;
    verdict.right = content == Values(facts);
    verdict.steps = keys_;
    verdict.formatted =
        content.size() == static_cast<size_t>(3 * keys_ - 1) && (reasoning.empty() || reasoning == Records(facts));
    for (size_t pos = 0; pos < content.size() && verdict.formatted; ++pos) {
      const bool digit = content[pos] >= '0' && content[pos] <= '9';
      verdict.formatted = pos % 3 == 2 ? content[pos] == ',' : digit;
    }
    for (size_t k = 0; k < facts.values.size(); ++k)
      if (3 * k < content.size()) verdict.correct_steps += content.substr(3 * k, 2) == std::to_string(facts.values[k]);
    return verdict;
  }

  Trace Demonstrate(const Problem& problem, uint64_t /*seed*/, Searcher /*searcher*/) const override {
    const LookupFacts facts = FactsOf(problem);
    Trace trace;
    trace.reasoning = Records(facts), trace.content = Values(facts);
    return trace;
  }

 protected:
  Problem Draw(Draws& draws) const override {
    std::string signs(kSigns);
    draws.Shuffle(signs);
    const int records = RecordsOf(length_);
    std::vector<char> is_record(static_cast<size_t>(records + (length_ - 3 * records) / 2));
    std::fill_n(is_record.begin(), records, char{1});
    draws.Shuffle(is_record);
    Problem problem;
    std::vector<int> values;
    for (const char record : is_record) {
      const int number = draws.Between(kLeast, kMost);
      if (record) {
        problem.prompt += signs[values.size()];
        values.push_back(number);
      }
      problem.prompt += fmt::format("{},", number);
    }
    std::vector<size_t> order(values.size());
    std::iota(order.begin(), order.end(), size_t{0});
    draws.Shuffle(order);
    LookupFacts facts;
    for (size_t k = 0; k < static_cast<size_t>(keys_); ++k) {
      facts.keys.emplace_back(1, signs[order[k]]);
      facts.values.push_back(values[order[k]]);
    }
    problem.prompt += fmt::format("?{}", fmt::join(facts.keys, ","));
    problem.facts = {{"keys", facts.keys}, {"values", facts.values}};
    problem.id = problem.prompt;
    return problem;
  }

 private:
  static LookupFacts FactsOf(const Problem& problem) {
    return {problem.facts.at("keys").get<std::vector<std::string>>(),
            problem.facts.at("values").get<std::vector<int>>()};
  }
  static std::string Values(const LookupFacts& facts) { return fmt::format("{}", fmt::join(facts.values, ",")); }
  static std::string Records(const LookupFacts& facts) {
    std::string text;
    for (size_t k = 0; k < facts.keys.size(); ++k)
      text += fmt::format("{}{}{}", k > 0 ? "," : "", facts.keys[k], facts.values[k]);
    return text;
  }

  int length_, keys_;
};

}  // namespace

const TaskKind kLookupKind = {
    "lookup", "[:LENGTH[:KEYS]]", "values of 1 to 8 keys in a document of 16 to 8192 tokens (1024 and 1)",
    [](std::span<const std::string> parameters) -> Result<std::unique_ptr<const Task>> {
      MINKE_TRY(AtMostParameters(parameters, 2));
      MINKE_ASSIGN(const int length, NumberParameter(parameters, 0, "length", kShortest, 8192, 1024));
      MINKE_ASSIGN(const int keys, NumberParameter(parameters, 1, "number of keys", 1, RecordsOf(length), 1));
      return std::make_unique<Lookup>(length, keys);
    }};

}  // namespace minke
