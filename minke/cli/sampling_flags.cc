#include "minke/cli/sampling_flags.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "minke/base/file.h"
#include "minke/base/json.h"

namespace minke {
namespace {

// What the reasoning models of this family were published with; nano does best there too (its README).
constexpr float kDefaultTemperature = 0.6f;

Result<LogitBias> ParseBias(const std::string& text) {
  LogitBias bias;
  const char* end = text.data() + text.size();
  const auto id = std::from_chars(text.data(), end, bias.token);
  if (id.ec == std::errc() && id.ptr != end && *id.ptr == '=') {
    const auto value = std::from_chars(id.ptr + 1, end, bias.bias);
    if (value.ec == std::errc() && value.ptr == end) return bias;
  }
  return Fail(Code::kInvalidArgument, "--logit-bias {}: expected ID=NUMBER, as in 42=-100", text);
}

// What the checkpoint's authors recommend; only these three fields, and only where the user said nothing. Values that
// no request may have are the file's fault.
Status TakeRecommended(const std::string& folder, int64_t vocab_size, SamplingParams& params) {
  if (folder.empty()) return {};
  const std::string path = folder + "/generation_config.json";
  const auto text = ReadFile(path, int64_t{1} << 20);
  if (!text) return text.error().code == Code::kNotFound ? Status() : Fail(text.error());
  MINKE_ASSIGN(const Json json, ParseJson(*text, path));
  if (!json.is_object()) return Fail(Code::kDamaged, "{}: not an object", path);
  const auto number = [&](const char* key, auto& value) -> Status {
    const auto found = json.find(key);
    if (found == json.end() || found->is_null()) return {};
    constexpr bool kIsCount = std::is_integral_v<std::decay_t<decltype(value)>>;
    constexpr double kMost = 1 << 30;  // converts without overflow
    if (!(kIsCount ? found->is_number_integer() : found->is_number()) || !(found->template get<double>() >= 0) ||
        found->template get<double>() > kMost)
      return Fail(Code::kDamaged, "{}: {} is not a {} from 0 to {}", path, key, kIsCount ? "whole number" : "number",
                  kMost);
    value = found->template get<std::decay_t<decltype(value)>>();
    return {};
  };
  MINKE_TRY(number("temperature", params.temperature));
  MINKE_TRY(number("top_p", params.top_p));
  MINKE_TRY(number("top_k", params.top_k));
  params.top_k = std::min(params.top_k, vocab_size);  // all, as the libraries that write this file have it
  if (const Status valid = Validate(params, vocab_size); !valid)
    return Fail(Code::kDamaged, "{}: {}", path, valid.error().message);
  return {};
}

}  // namespace

double AsGiven(float number) { return std::strtod(fmt::format("{}", number).c_str(), nullptr); }

void AddSamplingFlags(FlagSet verb, SamplingFlags& flags) {
  verb.Number("-n,--n-predict,--max-tokens", flags.max_tokens, 0, int64_t{1} << 32,
              "Most tokens of the answer, thinking included (default: 4096, with thinking 32768)");
  verb.Number("--temp,--temperature", flags.temperature, 0.0f, kMaxTemperature,
              "0 takes the most likely token (default: the model's own, else 0.6)");
  verb.Number("--top-p", flags.top_p, 0.0f, 1.0f, "Keep the most likely tokens that together have this much");
  verb.Number("--top-k", flags.top_k, 0, int64_t{1} << 31, "Keep this many of the most likely tokens; 0: all");
  verb.Number("--min-p", flags.min_p, 0.0f, 1.0f, "Keep tokens with this part of the largest probability");
  verb.Number("--seed", flags.seed, 0, UINT64_MAX, "Same seed, same answer (default: a fresh one, shown in the facts)");
  verb.Number("--repetition-penalty,--repeat-penalty", flags.repetition_penalty, kMinRepetitionPenalty,
              kMaxRepetitionPenalty, "Divide logits of tokens already seen; 1: off");
  verb.Number("--presence-penalty", flags.presence_penalty, -kMaxPenalty, kMaxPenalty,
              "Subtract from tokens already written");
  verb.Number("--frequency-penalty", flags.frequency_penalty, -kMaxPenalty, kMaxPenalty,
              "Subtract for every time a token was written");
  verb.Repeated("--logit-bias", flags.logit_bias, "ID=NUMBER, may be repeated");
  verb.Repeated("--stop", flags.stop,
                "End the answer before this text, which is not looked for in thinking; may be repeated");
  verb.Switch("--stop-in-thinking", flags.stop_in_thinking, "--stop also ends thinking, and the answer with it");
}

Result<SamplingParams> MakeSamplingParams(const SamplingFlags& flags, const std::string& folder, int64_t vocab_size) {
  SamplingParams params;
  params.temperature = kDefaultTemperature;
  MINKE_TRY(TakeRecommended(folder, vocab_size, params));
  if (flags.temperature) params.temperature = *flags.temperature;
  if (flags.top_p) params.top_p = *flags.top_p;
  if (flags.top_k) params.top_k = *flags.top_k;
  params.min_p = flags.min_p;
  params.repetition_penalty = flags.repetition_penalty;
  params.presence_penalty = flags.presence_penalty;
  params.frequency_penalty = flags.frequency_penalty;
  params.seed = flags.seed;
  params.stop = flags.stop;
  for (const std::string& text : flags.logit_bias) {
    MINKE_ASSIGN(const LogitBias bias, ParseBias(text));
    params.logit_bias.push_back(bias);
  }
  return params;
}

Result<int64_t> AnswerLimit(const SamplingFlags& flags, bool thinking, int64_t prompt_tokens, int64_t context,
                            int64_t most) {
  const int64_t asked = flags.max_tokens;
  const int64_t least = asked > 0 ? asked : 1;
  if (prompt_tokens + least > context) {
    return Fail(Code::kInvalidArgument,
                "prompt ({} tokens) + answer ({}) exceeds the context of {}: shorten the prompt or the answer (-n)",
                prompt_tokens, least, context);
  }
  return asked > 0 ? asked : std::clamp<int64_t>(most, 1, thinking ? 32768 : 4096);
}

}  // namespace minke
