#include "minke/cli/fit.h"

#include <algorithm>
#include <array>

#include "minke/base/available_memory.h"
#include "minke/engine/engine.h"
#include "minke/model/facts.h"
#include "minke/model/forward.h"
#include "minke/tensor/checkpoint.h"

namespace minke {
namespace {

std::string Scaled(double value, std::span<const char* const> units) {
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < units.size()) value /= 1000, ++unit;
  if (unit == 0) return fmt::format("{:.0f}{}", value, units[0]);
  return fmt::format("{:.{}f}{}", value, value < 10 ? 2 : value < 100 ? 1 : 0, units[unit]);
}

}  // namespace

std::string BytesText(int64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits = {" bytes", " KB", " MB", " GB", " TB"};
  return Scaled(static_cast<double>(bytes), kUnits);
}

std::string CountText(int64_t count) {
  static constexpr std::array<const char*, 4> kUnits = {"", " K", " M", " G"};
  return Scaled(static_cast<double>(count), kUnits);
}

Result<Fit> MeasureFit(const Model& model, int64_t context, int num_threads, const CacheFormats& formats,
                       int64_t memory_bytes) {
  const int64_t most = model.config().max_position_embeddings;
  if (context < 1 || context > most)
    return Fail(Code::kInvalidArgument, "--fit {}: the model has positions for 1 to {} tokens", context, most);
  const EngineOptions defaults;
  const ForwardOptions forward{.max_batch_tokens = defaults.max_batch_tokens,
                               .max_logit_rows = defaults.max_sequences,
                               .max_context = context,
                               .cache = formats};
  const RoutedExperts routed = CountRoutedExperts(model);
  const int64_t pages = (context + kPageTokens - 1) / kPageTokens;
  return Fit{.context = context,
             .weight_bytes = model.checkpoint().total_bytes() - model.checkpoint().owned_bytes(),
             .owned_bytes = OwnedWeightBytes(model),
             .cache_bytes = pages * model.cache_layout(formats).page_floats() * static_cast<int64_t>(sizeof(float)),
             .scratch_bytes = Forward::ScratchBytes(model, num_threads, forward),
             .available_bytes = AvailableMemoryBytes(),
             .memory_bytes = memory_bytes,
             .experts = routed,
             .least_slots = std::min(2 * model.config().num_experts_per_tok, routed.count)};
}

Json FitJson(const Fit& fit) {
  Json json = {{"context", fit.context},
               {"weight_bytes", fit.weight_bytes},
               {"owned_bytes", fit.owned_bytes},
               {"cache_bytes", fit.cache_bytes},
               {"scratch_bytes", fit.scratch_bytes},
               {"needed_bytes", fit.needed_bytes()},
               {"available_bytes", fit.available_bytes},
               {"fits", fit.fits()}};
  if (fit.memory_bytes > 0)
    json["memory"] = {{"memory_bytes", fit.memory_bytes},
                      {"resident_bytes", fit.resident_bytes()},
                      {"experts", fit.experts.count},
                      {"expert_layers", fit.experts.layers},
                      {"expert_bytes", fit.experts.largest},
                      {"expert_slots", fit.expert_slots()},
                      {"fits", fit.fits_limit()}};
  return json;
}

std::string FitText(const Fit& fit) {
  std::string text = fmt::format(
      "fit at {} tokens\n"
      "  weights     {} (mapped)\n"
      "  cache       {}\n"
      "  activations {}\n"
      "  norms etc.  {}\n"
      "  needed      {}\n"
      "  available   {}: {}\n",
      fit.context, BytesText(fit.weight_bytes), BytesText(fit.cache_bytes), BytesText(fit.scratch_bytes),
      BytesText(fit.owned_bytes), BytesText(fit.needed_bytes()), BytesText(fit.available_bytes),
      fit.fits() ? "fits" : "does not fit");
  if (fit.memory_bytes > 0)
    text += fmt::format(
        "with --memory {}\n"
        "  resident    {}\n"
        "  experts     {} of {} at once, {:.1f} a layer, {} each\n",
        BytesText(fit.memory_bytes), BytesText(fit.resident_bytes()), fit.expert_slots(), fit.experts.count,
        static_cast<double>(fit.expert_slots()) / static_cast<double>(std::max<int64_t>(1, fit.experts.layers)),
        BytesText(fit.experts.largest));
  return text;
}

Status RequireFit(const Fit& fit, std::string_view model_name) {
  if (fit.memory_bytes > 0) {
    if (fit.fits_limit()) return {};
    return Fail(Code::kNoMemory,
                "{}: --memory {} is not enough at {} tokens: {} are always there, and {} experts need {}", model_name,
                BytesText(fit.memory_bytes), fit.context, BytesText(fit.resident_bytes()), fit.least_slots,
                BytesText(fit.least_slots * fit.experts.largest));
  }
  if (fit.fits()) return {};
  const bool could_run = fit.private_bytes() <= fit.available_bytes;
  return Fail(Code::kNoMemory,
              "{}: does not fit at {} tokens: needs {} (weights {}, cache {}, activations {}), {} are available: {}",
              model_name, fit.context, BytesText(fit.needed_bytes()), BytesText(fit.weight_bytes),
              BytesText(fit.cache_bytes), BytesText(fit.scratch_bytes), BytesText(fit.available_bytes),
              could_run ? "with --memory SIZE it would run, reading experts from disk again and again"
                        : "use a shorter context or another machine");
}

}  // namespace minke
