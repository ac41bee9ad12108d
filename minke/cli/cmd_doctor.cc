// minke doctor: the machine, the kernels that run here, and which models would fit.
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "minke/base/json.h"
#include "minke/cli/command.h"
#include "minke/cli/fit.h"
#include "minke/cli/machine.h"
#include "minke/cli/model_path.h"
#include "minke/cli/peaks.h"
#include "minke/cli/prediction.h"
#include "minke/cli/version.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/facts.h"

namespace minke {
namespace {

struct DoctorFlags {
  bool json = false;
  std::string folder, model;
  PredictionFlags speed;
};

// Released models, by the fields in which they differ from their family's defaults (docs/model.md,
// "Configuration").
struct KnownModel {
  const char* name;
  const char* config;
  bool fp8;
};
constexpr std::array<KnownModel, 3> kKnownModels = {{
    {"DeepSeek-V2-Lite, BF16", R"({"model_type":"deepseek_v2","hidden_size":2048,"num_hidden_layers":27,
      "num_attention_heads":16,"q_lora_rank":null,"intermediate_size":10944,"moe_intermediate_size":1408,
      "n_routed_experts":64,"num_experts_per_tok":6,"n_shared_experts":2,"first_k_dense_replace":1})",
     false},
    {"DeepSeek-V3.2, FP8", R"({"model_type":"deepseek_v32"})", true},
    {"GLM-5, BF16", R"({"model_type":"glm_moe_dsa","rope_theta":1000000})", false},
}};

int64_t StoredBytes(int64_t parameters, int64_t fp8, bool is_fp8) {
  return is_fp8 ? fp8 + (parameters - fp8) * 2 : parameters * 2;
}

Json KnownModelsJson(const Machine& machine, double memory_bytes_per_s) {
  Json list = Json::array();
  for (const KnownModel& known : kKnownModels) {
    const auto config = ParseModelConfig(known.config, known.name);
    if (!config) continue;
    const WeightCount count = CountWeights(*config);
    const int64_t bytes = StoredBytes(count.all, count.all_fp8, known.fp8);
    const int64_t per_token = StoredBytes(count.used, count.used_fp8, known.fp8);
    list.push_back({{"model", known.name},
                    {"weight_bytes", bytes},
                    {"bytes_per_token", per_token},
                    {"fits", bytes <= machine.available_bytes},
                    {"most_tokens_per_s", memory_bytes_per_s / static_cast<double>(per_token)}});
  }
  return list;
}

Json KernelsJson(const KernelSet* chosen) {
  Json sets = Json::array();
  for (const KernelSet& set : AllKernelSets())
    sets.push_back({{"name", set.name}, {"description", set.description}, {"supported", set.supported()}});
  return {{"built", sets}, {"in_use", chosen ? Json(chosen->name) : Json()}};
}

std::string Line(std::string_view key, std::string_view value) { return fmt::format("{:<14}{}\n", key, value); }

std::string RateText(double bytes_per_s) { return BytesText(static_cast<int64_t>(bytes_per_s)) + "/s"; }

std::string DoctorText(const Json& report, const Peaks& peaks) {
  const Json &cpu = report.at("cpu"), &memory = report.at("memory"), &disk = report.at("disk");
  std::string text = Line("minke", report.at("minke").get<std::string>());
  text += Line("processor", fmt::format("{} ({}), {} online, {} in use", cpu.at("name").get<std::string>(),
                                        cpu.at("architecture").get<std::string>(), cpu.at("online").get<int>(),
                                        cpu.at("threads").get<int>()));
  const Json& kernels = report.at("kernels");
  for (const Json& set : kernels.at("built"))
    text += Line("kernels", fmt::format("{:<14} {}{}", set.at("name").get<std::string>(),
                                        set.at("name") == kernels.at("in_use") ? "in use"
                                        : set.at("supported").get<bool>()      ? "runs here"
                                                                               : "not on this processor",
                                        ": " + set.at("description").get<std::string>()));
  text += Line("memory", fmt::format("{}, {} available{}", BytesText(memory.at("total_bytes").get<int64_t>()),
                                     BytesText(memory.at("available_bytes").get<int64_t>()),
                                     memory.at("limit_bytes").is_null()
                                         ? ""
                                         : fmt::format(", limited to {} for this process",
                                                       BytesText(memory.at("limit_bytes").get<int64_t>()))));
  text += Line("peaks", PeaksText(peaks));
  text += Line("huge pages", fmt::format("transparent: {}; reserved and free: {} of {}",
                                         memory.at("transparent_huge_pages").get<std::string>(),
                                         memory.at("huge_pages_free").get<int64_t>(),
                                         BytesText(memory.at("huge_page_bytes").get<int64_t>())));
  text += disk.contains("error")
              ? Line("disk", disk.at("error").get<std::string>())
              : Line("disk", fmt::format("{}: read at {}{}", disk.at("folder").get<std::string>(),
                                         RateText(disk.at("bytes_per_s").get<double>()),
                                         disk.at("direct").get<bool>() ? "" : " (perhaps from memory)"));
  for (const Json& model : report.at("models")) {
    const bool fits = model.at("fits").get<bool>();
    text += Line(fits ? "fits" : "does not fit",
                 fmt::format("{}: {}{}", model.at("model").get<std::string>(),
                             BytesText(model.at("weight_bytes").get<int64_t>()),
                             fits ? fmt::format(", at most {:.2g} tokens/s by the memory bandwidth of {} thread{}",
                                                model.at("most_tokens_per_s").get<double>(), peaks.threads,
                                                peaks.threads == 1 ? "" : "s")
                                  : ""));
  }
  return text;
}

// TMPDIR where it can be written, else /tmp, and then a person hears of it: /tmp may be another disk.
std::string TemporaryFolder(const CliContext& context) {
  const char* named = std::getenv("TMPDIR");
  if (!named || !*named) return "/tmp";
  std::error_code ignored;
  if (std::filesystem::is_directory(named, ignored) && ::access(named, W_OK | X_OK) == 0) return named;
  context.Warn(fmt::format("TMPDIR is {}, which is no folder to write in: /tmp is measured", named));
  return "/tmp";
}

Status Doctor(const DoctorFlags& flags, CliContext& context) {
  if (!flags.speed.depths.empty() && flags.model.empty())
    return Fail(Code::kInvalidArgument, "-d without MODEL: name the model whose speed is asked for");
  const Machine machine = ReadMachine();
  const int threads = context.ThreadCount();
  MINKE_ASSIGN(const auto started, ThreadPool::Create(threads));
  ThreadPool& pool = *started;
  const auto kernels = ChooseKernelSet(context.isa);
  const Peaks peaks = MeasurePeaks(kernels ? *kernels : nullptr, pool, machine.available_bytes);
  const std::string folder = flags.folder.empty() ? TemporaryFolder(context) : flags.folder;
  Json disk = {{"folder", folder}};
  if (const auto speed = MeasureDiskRead(folder)) {
    disk["bytes_per_s"] = speed->bytes_per_s;
    disk["direct"] = speed->direct;
  } else {
    disk["error"] = speed.error().message;
  }
  Json report = MachineJson(machine);
  report["version"] = 1;
  report["minke"] = Version();
  report["cpu"]["threads"] = threads;
  report["memory"]["bytes_per_s"] = peaks.memory_bytes_per_s;
  report["kernels"] = KernelsJson(kernels ? *kernels : nullptr);
  report["peaks"] = PeaksJson(peaks);
  report["disk"] = disk;
  report["models"] = KnownModelsJson(machine, peaks.memory_bytes_per_s);
  std::string speed_text;
  if (!flags.model.empty() && kernels) {
    MINKE_ASSIGN(const ModelPath path, FindModel(flags.model));
    MINKE_ASSIGN(const auto model, Model::Open(path.path));
    MINKE_ASSIGN(const SpeedReport speed, PredictSpeed(*model, **kernels, pool, flags.speed));
    report["model"] = path.name;
    report["speed"] = SpeedJson(speed);
    speed_text = fmt::format("{}: {}", path.name, SpeedText(speed));
  }
  if (flags.json) {
    MINKE_TRY(context.out.WriteLine(DumpJson(report)));
  } else {
    MINKE_TRY(context.out.Write(DoctorText(report, peaks) + speed_text));
    MINKE_TRY(context.out.Flush());
  }
  return kernels ? Status() : Fail(kernels.error());  // a set that was forced and cannot run is an error here too
}

}  // namespace

void AddDoctorCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<DoctorFlags>();
  FlagSet verb =
      AddVerb(program, context, "doctor",
              "Processor, kernels, memory and disk of this machine; what would fit, and how fast a model would be",
              [flags, &context] { return Doctor(*flags, context); });
  verb.Text("MODEL", flags->model, kModelHelp);
  AddPredictionFlags(verb, flags->speed);
  verb.Text("--folder", flags->folder, "Where to measure the disk (default: TMPDIR, else /tmp)");
  verb.Switch("--json", flags->json, "One JSON object");
}

}  // namespace minke
