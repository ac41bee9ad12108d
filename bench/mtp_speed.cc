// Tokens per second with and without speculative decoding, greedy, on the model's own task: the prompts of eval.jsonl,
// with thinking, one at a time or several at once.
//
//   minke_mtp_speed MODEL_FOLDER [PROMPTS] [ROUNDS]
//
// Rounds of all modes are interleaved, so that a slow minute of the machine meets each of them. Prints medians over the
// rounds, their least and most, and the ratio to "off", which has to be 1.4 for one sequence on two threads. Every mode
// must write the same tokens. Exit code 1 below the bound.
//
// The bound is for a model that waits for memory. One as small as nano lies in the caches, so a second row costs nearly
// what the first one does, and its MTP layer is a fifth of the model: see docs/model.md.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "minke/base/file.h"
#include "minke/base/json.h"
#include "minke/engine/engine.h"
#include "minke/text/chat_template.h"
#include "minke/text/tokenizer.h"

namespace minke {
namespace {

constexpr double kMustBeAtLeast = 1.4;
constexpr int64_t kMaxTokens = 400;

using Prompts = std::vector<std::vector<TokenId>>;

struct Mode {
  const char* name;
  Speculation speculation;
  int64_t draft_tokens;
};
constexpr Mode kModes[] = {{"off", Speculation::kOff, 1},
                           {"auto", Speculation::kAuto, 1},
                           {"on, 1 draft", Speculation::kAlways, 1},
                           {"on, 2 drafts", Speculation::kAlways, 2},
                           {"on, 3 drafts", Speculation::kAlways, 3}};

Result<Prompts> ReadPrompts(const std::string& folder, int64_t count) {
  MINKE_ASSIGN(const auto tokenizer, Tokenizer::Open(folder));
  MINKE_ASSIGN(const std::string text, ReadFile(folder + "/eval.jsonl", 1 << 24));
  Prompts prompts;
  for (size_t begin = 0; begin < text.size() && std::ssize(prompts) < count;) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    MINKE_ASSIGN(const Json line, ParseJson(std::string_view(text).substr(begin, end - begin), "eval.jsonl"));
    Message message;
    message.role = "user", message.content = line["prompt"];
    EncodeOptions options;
    options.thinking_mode = ThinkingMode::kThinking;
    MINKE_ASSIGN(const std::string prompt, EncodeChat(ChatFormat::kV32, {&message, 1}, options));
    prompts.push_back(tokenizer->Encode(prompt));
    begin = end + 1;
  }
  return prompts;
}

struct Outcome {
  std::vector<std::vector<TokenId>> answers;
  double seconds = 0;  // of decoding alone when one runs at a time, else of the whole round
  int64_t tokens = 0, drafts = 0, accepted = 0;
};

// All prompts, `at_once` of them in the engine at any time.
Result<Outcome> Round(Engine& engine, const Prompts& prompts, int64_t at_once) {
  Outcome outcome;
  outcome.answers.resize(prompts.size());
  std::mutex mutex;
  std::condition_variable changed;
  int64_t running = 0;
  double decode_s = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (size_t i = 0; i < prompts.size(); ++i) {
    TokenSink sink;
    sink.on_token = [&answer = outcome.answers[i]](const TokenEvent& event) { answer.push_back(event.token); };
    sink.on_end = [&](const Ending& ending) {
      const std::lock_guard lock(mutex);
      outcome.tokens += ending.stats.generated_tokens - 1;  // the first one belongs to the prefill
      outcome.drafts += ending.stats.drafts;
      outcome.accepted += ending.stats.accepted_drafts;
      decode_s += ending.stats.decode_s;
      --running;
      changed.notify_one();
    };
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return running < at_once; });
    ++running;
    lock.unlock();
    MINKE_TRY(engine.Submit(prompts[i], {.temperature = 0, .max_tokens = kMaxTokens}, std::move(sink)));
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return running == 0; });
  const double all_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  outcome.seconds = at_once == 1 ? decode_s : all_s;
  return outcome;
}

// Ratio of "on, 1 draft" to "off".
Result<double> Measure(std::shared_ptr<const Model> model, const Prompts& prompts, int64_t at_once, int threads,
                       int64_t rounds) {
  std::vector<std::unique_ptr<Engine>> engines;
  std::vector<std::vector<double>> rates(std::size(kModes));
  std::vector<Outcome> last(std::size(kModes));
  for (const Mode& mode : kModes) {
    EngineOptions options;
    options.model = model;
    options.num_threads = threads;
    options.max_sequences = at_once;
    options.speculation = mode.speculation;
    options.draft_tokens = mode.draft_tokens;
    const char* isa = std::getenv("MINKE_ISA");
    MINKE_ASSIGN(options.kernels, ChooseKernelSet(isa ? isa : ""));
    MINKE_ASSIGN(auto engine, Engine::Open(options));
    engines.push_back(std::move(engine));
  }
  for (int64_t round = 0; round <= rounds; ++round) {
    for (size_t m = 0; m < engines.size(); ++m) {
      MINKE_ASSIGN(last[m], Round(*engines[m], prompts, at_once));
      if (last[m].answers != last[0].answers) return Fail(Code::kFailed, "\"{}\" wrote other tokens", kModes[m].name);
      // The first round warms the caches and is not kept.
      if (round > 0) rates[m].push_back(static_cast<double>(last[m].tokens) / last[m].seconds);
    }
  }
  std::printf("%lld at once, %d threads\n", static_cast<long long>(at_once), threads);
  double off = 0, ratio = 0;
  for (size_t m = 0; m < engines.size(); ++m) {
    std::ranges::sort(rates[m]);
    const double median = rates[m][rates[m].size() / 2];
    if (m == 0) off = median;
    if (kModes[m].speculation == Speculation::kAlways && kModes[m].draft_tokens == 1) ratio = median / off;
    std::printf("  %-14s %9.0f tokens/s (%7.0f..%7.0f)  %5.2f times off", kModes[m].name, median, rates[m].front(),
                rates[m].back(), median / off);
    if (last[m].drafts > 0) {
      std::printf("  %5.1f %% of %lld drafts accepted",
                  100 * static_cast<double>(last[m].accepted) / static_cast<double>(last[m].drafts),
                  static_cast<long long>(last[m].drafts));
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  return ratio;
}

Result<double> MeasureAll(const std::string& folder, int64_t num_prompts, int64_t rounds) {
  MINKE_ASSIGN(std::shared_ptr<const Model> model, Model::Open(folder));
  MINKE_ASSIGN(const Prompts prompts, ReadPrompts(folder, num_prompts));
  std::printf("speculative decoding: %zu prompts, greedy, %lld rounds\n", prompts.size(),
              static_cast<long long>(rounds));
  MINKE_TRY(Measure(model, prompts, 1, 1, rounds));
  MINKE_ASSIGN(const double ratio, Measure(model, prompts, 1, 2, rounds));
  MINKE_TRY(Measure(model, prompts, 16, 2, rounds));
  return ratio;
}

int Main(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    std::fprintf(stderr, "usage: minke_mtp_speed MODEL_FOLDER [PROMPTS] [ROUNDS]\n");
    return 2;
  }
  const int64_t num_prompts = argc > 2 ? std::atoll(argv[2]) : 60, rounds = argc > 3 ? std::atoll(argv[3]) : 7;
  const auto ratio = MeasureAll(argv[1], std::max<int64_t>(1, num_prompts), std::max<int64_t>(1, rounds));
  if (!ratio) {
    std::fprintf(stderr, "minke_mtp_speed: %s\n", ratio.error().message.c_str());
    return ExitCode(ratio.error().code);
  }
  std::printf("on over off, one sequence, two threads: %.2f (must be >= %.1f): %s\n", *ratio, kMustBeAtLeast,
              *ratio >= kMustBeAtLeast ? "pass" : "FAIL");
  return *ratio >= kMustBeAtLeast ? 0 : 1;
}

}  // namespace
}  // namespace minke

int main(int argc, char** argv) { return minke::Main(argc, argv); }
