// minke score: logits, intermediates, greedy continuations and perplexity, for researchers, debuggers and tests.
#include <algorithm>
#include <optional>

#include "minke/base/json.h"
#include "minke/cli/command.h"
#include "minke/cli/generation.h"
#include "minke/cli/model_flags.h"
#include "minke/cli/score_prompts.h"
#include "minke/cli/score_run.h"
#include "minke/cli/score_text.h"
#include "minke/cli/terminal.h"
#include "minke/tensor/safetensors.h"

namespace minke {
namespace {

struct ScoreFlags : ModelFlags {
  std::string ids, out, text;
  int64_t chunk = 0, greedy = 0, window = 384;
  bool step = false, taps = false, json = false;
};

struct ScoreFacts {
  int64_t tokens = 0, generated = 0, drafts = 0, accepted_drafts = 0;
  double seconds = 0, generated_seconds = 0;
  std::optional<Perplexity> perplexity;
  ExpertStats experts;  // of the continuations
};

// Continuations by argmax through the engine; the end token does not stop them.
Result<std::vector<std::vector<int64_t>>> ContinueGreedily(const ScoreFlags& flags, const CliContext& context,
                                                           std::shared_ptr<const Model> model, const KernelSet& kernels,
                                                           std::span<const ScorePrompt> prompts, ScoreFacts& facts) {
  EngineOptions options = flags.engine_options();
  options.model = std::move(model);
  options.kernels = &kernels;
  options.num_threads = context.ThreadCount();
  options.prefill_chunk = flags.step ? 1 : flags.chunk;
  MINKE_ASSIGN(const auto engine, Engine::Open(options));
  SamplingParams params;
  params.temperature = 0;
  params.max_tokens = flags.greedy;
  params.ignore_eos = true;
  std::vector<std::unique_ptr<Generation>> running;
  for (const ScorePrompt& prompt : prompts) {  // all at once: the scheduler batches them
    MINKE_ASSIGN(auto generation, Generation::Start(*engine, prompt.ids, params));
    running.push_back(std::move(generation));
  }
  std::vector<std::vector<int64_t>> continuations(prompts.size());
  for (size_t i = 0; i < running.size(); ++i) {
    GenerationEvent event;
    do {
      if (!running[i]->Next(event, 1000)) continue;
      if (event.kind == GenerationEvent::Kind::kToken) continuations[i].push_back(event.token);
    } while (event.kind != GenerationEvent::Kind::kEnd);
    if (event.reason == FinishReason::kFailed) return Fail(event.error);
    facts.generated += event.stats.generated_tokens;
    facts.drafts += event.stats.drafts;
    facts.accepted_drafts += event.stats.accepted_drafts;
  }
  facts.experts = engine->stats().experts;
  return continuations;
}

Status ScoreIds(const ScoreFlags& flags, const CliContext& context, std::shared_ptr<const Model> model,
                const KernelSet& kernels, ScoreFacts& facts) {
  const ModelConfig& config = model->config();
  MINKE_ASSIGN(const auto prompts, ReadScorePrompts(flags.ids, config.vocab_size));
  std::vector<std::span<const TokenId>> ids;
  std::vector<int64_t> lengths;
  std::vector<std::string> suffixes;
  for (const ScorePrompt& prompt : prompts) {
    ids.push_back(prompt.ids);
    lengths.push_back(static_cast<int64_t>(prompt.ids.size()));
    suffixes.push_back(prompt.suffix);
    facts.tokens += lengths.back();
  }
  const int64_t longest = std::ranges::max(lengths);
  const int64_t limit =
      flags.context > 0 ? std::min(flags.context, config.max_position_embeddings) : config.max_position_embeddings;
  if (longest + flags.greedy > limit) {
    return Fail(Code::kInvalidArgument,
                "prompt ({} tokens) + --greedy ({}) exceeds the context of {}: shorten the prompt", longest,
                flags.greedy, limit);
  }
  const bool keep = !flags.out.empty();
  if (keep) {
    const int64_t taps = flags.taps ? (config.num_hidden_layers + 2) * config.hidden_size + 2 * config.vocab_size : 0;
    MINKE_TRY(CheckMemory(4.0 * static_cast<double>(facts.tokens) * static_cast<double>(config.vocab_size + taps),
                          "the results of " + flags.ids));
  }

  ScoreRunOptions options;
  options.chunk = flags.step ? 1 : flags.chunk;
  options.attention = flags.attention_mode(), options.mla_form = flags.mla_form();
  options.cache = flags.cache.formats();
  options.taps = flags.taps;
  MINKE_ASSIGN(const auto threads, ThreadPool::Create(context.ThreadCount()));
  ThreadPool& pool = *threads;
  ScoreRecord record(lengths, config.num_hidden_layers);
  {
    MINKE_ASSIGN(const auto runner, ScoreRunner::Create(*model, kernels, pool, lengths, options));
    Progress progress("scoring", "tokens", !context.quiet);
    int64_t done = 0;
    const double start = MonotonicSeconds();
    MINKE_TRY(runner->Run(ids, keep ? &record : nullptr,
                          [&](std::span<const RecordRows>, TensorView<const float, 2> logits) -> Status {
                            if (keep) record.Logits(logits);
                            done += logits.dim(0);
                            progress.Update(static_cast<double>(done), static_cast<double>(facts.tokens));
                            return {};
                          }));
    facts.seconds = MonotonicSeconds() - start;
  }
  std::vector<std::vector<int64_t>> greedy;
  if (flags.greedy > 0) {
    const double start = MonotonicSeconds();
    MINKE_ASSIGN(greedy, ContinueGreedily(flags, context, model, kernels, prompts, facts));
    facts.generated_seconds = MonotonicSeconds() - start;
  }
  if (!keep) return {};
  std::vector<TensorToWrite> tensors = record.Tensors(suffixes);
  for (size_t i = 0; i < greedy.size(); ++i) {
    tensors.push_back({"greedy_ids" + suffixes[i],
                       DType::kI64,
                       {static_cast<int64_t>(greedy[i].size())},
                       std::as_bytes(std::span<const int64_t>(greedy[i]))});
  }
  return WriteSafetensors(flags.out, tensors);
}

Status CheckFlags(const ScoreFlags& flags) {
  const auto wrong = [](std::string_view why) {
    return Fail(Code::kInvalidArgument, "score: {}: see minke help score", why);
  };
  if (flags.ids.empty() == flags.text.empty()) return wrong("give one of --ids FILE and --text FILE");
  if (flags.step && flags.chunk > 0) return wrong("--step and --chunk exclude each other");
  if (!flags.text.empty() && (flags.greedy > 0 || flags.taps || !flags.out.empty())) {
    return wrong("--greedy, --taps and --out go with --ids");
  }
  if (flags.taps && flags.out.empty()) return wrong("--taps needs --out FILE");
  return {};
}

Status Print(const ScoreFlags& flags, CliContext& context, const std::string& model_name, const ModelConfig& config,
             const KernelSet& kernels, const ScoreFacts& facts) {
  const double rate = facts.seconds > 0 ? static_cast<double>(facts.tokens) / facts.seconds : 0;
  const std::string attention = DescribeAttention(config, flags.attention_mode());
  if (flags.json) {
    Json json = {{"version", 1},         {"model", model_name},    {"tokens", facts.tokens}, {"seconds", facts.seconds},
                 {"tokens_per_s", rate}, {"attention", attention}, {"mla", flags.mla},       {"isa", kernels.name}};
    if (flags.greedy > 0) {
      json["generated_tokens"] = facts.generated;
      json["generated_seconds"] = facts.generated_seconds;
      json["mtp"] = DraftsAsJson(flags, facts.drafts, facts.accepted_drafts);
      if (facts.experts.needed > 0) json["experts"] = Json(ExpertsAsJson(facts.experts));
    }
    if (facts.perplexity) {
      json["perplexity"] = facts.perplexity->value();
      json["mean_nll"] = facts.perplexity->mean_nll();
      json["scored_tokens"] = facts.perplexity->scored;
      json["window"] = flags.window;
    }
    return context.out.WriteLine(DumpJson(json));
  }
  std::string text = fmt::format("tokens {}\nseconds {:.4f}\ntokens/s {:.1f}\n", facts.tokens, facts.seconds, rate);
  if (flags.greedy > 0) {
    text +=
        fmt::format("generated {} tokens in {:.4f} s, {:.1f} tokens/s, {}\n", facts.generated, facts.generated_seconds,
                    static_cast<double>(facts.generated) / std::max(facts.generated_seconds, 1e-9),
                    DescribeDrafts(facts.drafts, facts.accepted_drafts));
  }
  if (facts.perplexity) {
    text +=
        fmt::format("perplexity {:.4f}\nmean negative log-likelihood {:.5f} over {} tokens, windows of {}\n",
                    facts.perplexity->value(), facts.perplexity->mean_nll(), facts.perplexity->scored, flags.window);
  }
  text += fmt::format("attention {}, mla {}, kernels {}\n", attention, flags.mla, kernels.name);
  MINKE_TRY(context.out.Write(text));
  return context.out.Flush();
}

Status Score(const ScoreFlags& flags, CliContext& context) {
  MINKE_TRY(CheckFlags(flags));
  MINKE_ASSIGN(const KernelSet* kernels, ChooseKernelSet(context.isa));
  MINKE_ASSIGN(const OpenedModel opened, OpenModel(flags, context));
  ScoreFacts facts;
  if (!flags.ids.empty()) {
    MINKE_TRY(ScoreIds(flags, context, opened.model, *kernels, facts));
  } else {
    ScoreRunOptions options;
    options.chunk = flags.step ? 1 : flags.chunk;
    options.attention = flags.attention_mode(), options.mla_form = flags.mla_form();
    options.cache = flags.cache.formats();
    MINKE_ASSIGN(const auto threads, ThreadPool::Create(context.ThreadCount()));
    ThreadPool& pool = *threads;
    Progress progress("scoring", "tokens", !context.quiet);
    MINKE_ASSIGN(const std::vector<TokenId> ids, EncodeText(opened, flags.text));
    MINKE_ASSIGN(facts.perplexity,
                 MeasurePerplexity(opened, *kernels, pool, ids, {.window = flags.window}, options, progress));
    facts.tokens = facts.perplexity->tokens;
    facts.seconds = facts.perplexity->seconds;
  }
  return Print(flags, context, opened.path.name, opened.model->config(), *kernels, facts);
}

}  // namespace

void AddScoreCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<ScoreFlags>();
  FlagSet verb = AddVerb(program, context, "score",
                         "Logits, intermediates and greedy ids of given token ids; perplexity of a text",
                         [flags, &context] { return Score(*flags, context); });
  AddModelFlags(verb, *flags);
  AddDraftFlags(verb, *flags);
  verb.Text("--ids", flags->ids, "safetensors file with input_ids (I64, [S]), or input_ids.0, .1, ... as one batch");
  verb.Text("--out", flags->out, "Write logits, greedy_ids and taps to this safetensors file");
  verb.Number("--chunk", flags->chunk, 1, 1 << 20,
              "Take prompts in chunks of N tokens (default: whole, up to 4096 rows in a step)");
  verb.Switch("--step", flags->step, "Take prompts one token at a time");
  verb.Number("--greedy", flags->greedy, 0, 1 << 30, "Continue each prompt by N most likely tokens");
  verb.Switch("--taps", flags->taps, "Also write hidden states, selections, experts and the MTP layer's results");
  verb.Text("--text", flags->text, "Perplexity of this UTF-8 file; markers count as tokens");
  verb.Number("--window", flags->window, 2, 1 << 30,
              "Tokens in one window of --text: each alone from position 0, its first token not scored (default 384)");
  verb.Switch("--json", flags->json, "Print the facts as one JSON object");
}

}  // namespace minke
