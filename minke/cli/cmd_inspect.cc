// minke inspect: what a checkpoint is, whether it is sound, and whether it fits.
#include "minke/cli/command.h"
#include "minke/cli/fit.h"
#include "minke/cli/inspect_report.h"
#include "minke/cli/prediction.h"
#include "minke/model/facts.h"
#include "minke/model/gguf_model.h"

namespace minke {
namespace {

struct InspectFlags {
  std::string model;
  bool verify = false, json = false, tensors = false;
  int64_t fit = 0, memory = 0;
  PredictionFlags speed;
};

// What could be opened. A model that does not open still shows its configuration and tensors, where those can be read.
struct Opened {
  std::unique_ptr<const Model> model;
  std::optional<ModelConfig> config;
  std::unique_ptr<Checkpoint> own_checkpoint;
  const Checkpoint* checkpoint = nullptr;
  std::vector<Error> problems;
};

Opened OpenParts(const ModelPath& path) {
  Opened opened;
  if (auto model = Model::Open(path.path)) {
    opened.model = std::move(*model);
    opened.config = opened.model->config();
    opened.checkpoint = &opened.model->checkpoint();
    return opened;
  } else {
    opened.problems.push_back(std::move(model.error()));
  }
  if (IsGgufPath(path.path)) {
    if (auto gguf = OpenGgufModel(path.path)) {
      if (auto config = ParseModelConfig(DumpJson(gguf->config), path.path)) opened.config = std::move(*config);
      opened.own_checkpoint = std::move(gguf->checkpoint);
      opened.checkpoint = opened.own_checkpoint.get();
    }
    return opened;
  }
  const std::string config_path = path.folder + "/config.json";
  if (const auto text = ReadFile(config_path, kMaxConfigBytes))
    if (auto config = ParseModelConfig(*text, config_path)) opened.config = std::move(*config);
  if (auto checkpoint = Checkpoint::Open(path.path)) {
    opened.own_checkpoint = std::move(*checkpoint);
    opened.checkpoint = opened.own_checkpoint.get();
  }
  return opened;
}

Status Inspect(const InspectFlags& flags, CliContext& context) {
  if (flags.memory > 0 && flags.fit == 0)
    return Fail(Code::kInvalidArgument, "--memory without --fit: {}", "name the context too, as in --fit 4096");
  if (!flags.speed.depths.empty() && flags.fit == 0)
    return Fail(Code::kInvalidArgument, "-d without --fit: {}", "name the context too, as in --fit 4096");
  MINKE_ASSIGN(const ModelPath path, FindModel(flags.model));
  Opened opened = OpenParts(path);
  if (!opened.config && !opened.checkpoint) return Fail(std::move(opened.problems[0]));

  Json report = {{"version", 1},
                 {"model", path.name},
                 {"path", path.path},
                 {"architecture", nullptr},
                 {"tensors", nullptr},
                 {"cache", nullptr},
                 {"tokenizer", nullptr},
                 {"prompt_format", nullptr},
                 {"unused", Json::array()},
                 {"unsupported", Json::array()}};
  Json& unsupported = report["unsupported"];
  if (opened.config) {
    const ModelConfig& c = *opened.config;
    report["architecture"] = ArchitectureJson(c);
    if (c.declared_mtp_layers > c.num_nextn_predict_layers)
      unsupported.push_back(fmt::format("{} MTP layers: the first is used, the others are not", c.declared_mtp_layers));
    TextFacts text = DescribeText(path, c);
    report["tokenizer"] = text.tokenizer;
    report["prompt_format"] = text.prompt_format;
    for (const std::string& lack : text.lacks) unsupported.push_back(lack);
    if (!text.problem) opened.problems.push_back(text.problem.error());
  }
  if (opened.checkpoint)
    report["tensors"] = TensorsJson(*opened.checkpoint, opened.config ? &*opened.config : nullptr, flags.tensors);
  if (opened.model) {
    const CacheLayout layout = opened.model->cache_layout(flags.speed.cache.formats());
    report["cache"] = {{"bytes_per_token", layout.page_floats() / kPageTokens * static_cast<int64_t>(sizeof(float))},
                       {"layers", layout.num_layers},
                       {"latent_dim", layout.kv_lora_rank + layout.qk_rope_head_dim},
                       {"index_head_dim", layout.index_head_dim}};
    report["unused"] = UnusedTensors(*opened.model);
    if (opened.config->num_nextn_predict_layers > 0 && !opened.model->has_mtp()) {
      report["architecture"]["mtp_layers"] = 0;
      unsupported.push_back("MTP: the files have no such layer; nothing drafts ahead");
    }
  }
  if (flags.verify && opened.checkpoint) {
    MINKE_ASSIGN(const auto started, ThreadPool::Create(context.ThreadCount()));
    ThreadPool& pool = *started;
    Verification verification = VerifyCheckpoint(*opened.checkpoint, pool, !context.quiet);
    report["verify"] = std::move(verification.json);
    if (!verification.problem) opened.problems.push_back(verification.problem.error());
  }
  report["problems"] = Json::array();
  for (const Error& problem : opened.problems) report["problems"].push_back(problem.message);

  Status fits;
  std::string fit_text;
  if (flags.fit > 0 && opened.model) {
    MINKE_ASSIGN(const Fit fit, MeasureFit(*opened.model, flags.fit, context.ThreadCount(), flags.speed.cache.formats(),
                                           flags.memory));
    report["fit"] = FitJson(fit);
    fit_text = FitText(fit);
    fits = RequireFit(fit, path.name);
    if (flags.memory > 0) {  // what the disk adds depends on which experts the text asks for
      report["speed"] = nullptr;
      fit_text += "speed is not predicted with --memory: the experts that are read decide; minke bench measures it\n";
    } else {
      MINKE_ASSIGN(const KernelSet* kernels, ChooseKernelSet(context.isa));
      MINKE_ASSIGN(const auto pool, ThreadPool::Create(context.ThreadCount()));
      MINKE_ASSIGN(const SpeedReport speed, PredictSpeed(*opened.model, *kernels, *pool, flags.speed));
      report["speed"] = SpeedJson(speed);
      fit_text += SpeedText(speed);
    }
  }
  if (flags.json) {
    MINKE_TRY(context.out.WriteLine(DumpJson(report)));
  } else {
    MINKE_TRY(context.out.Write(ReportText(report) + fit_text));
    MINKE_TRY(context.out.Flush());
  }
  if (!opened.problems.empty()) return Fail(std::move(opened.problems[0]));
  return fits;
}

}  // namespace

void AddInspectCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<InspectFlags>();
  FlagSet verb =
      AddVerb(program, context, "inspect", "Architecture, tensors, tokenizer, prompt format; soundness; memory",
              [flags, &context] { return Inspect(*flags, context); });
  verb.Required("MODEL", flags->model, kModelHelp);
  verb.Switch("--verify", flags->verify, "Read every byte: NaN, infinity and scales that are not positive");
  verb.Number("--fit", flags->fit, 1, int64_t{1} << 40,
              "Memory for one sequence of this many tokens, and speed; exit 6 if the machine lacks it");
  verb.Bytes("--memory", flags->memory,
             "With --fit: what a limit of this size, as in 8G, would hold of the experts; no speed then");
  AddPredictionFlags(verb, flags->speed);
  verb.Switch("--tensors", flags->tensors, "List every tensor");
  verb.Switch("--json", flags->json, "One JSON object");
}

}  // namespace minke
