#include "minke/train/train_config.h"

#include <iterator>

#include "minke/train/config_file.h"
#include "minke/train/optimizer_config.h"

namespace minke {
namespace {

constexpr const char* kStageNames[] = {"pretrain", "sft", "indexer-warmup", "sparse", "distill"};
constexpr int64_t kMostSteps = 1'000'000'000;
constexpr int64_t kMostTokens = 1 << 18;

void ReadStage(ConfigSection section, StageConfig& stage) {
  std::string kind = stage.name();
  section.Need("kind");
  section.Need("data");
  section.Need("steps");
  section.Choice("kind", kind, {std::begin(kStageNames), std::end(kStageNames)});
  for (size_t i = 0; i < std::size(kStageNames); ++i)
    if (kind == kStageNames[i]) stage.kind = static_cast<StageKind>(i);
  stage.dense = stage.kind != StageKind::kSparse && stage.kind != StageKind::kDistill;
  section.Texts("data", stage.data);
  section.Number("steps", stage.steps, 1, kMostSteps);
  section.Number("batch_tokens", stage.batch_tokens, 2, 1 << 30);
  section.Number("micro_tokens", stage.micro_tokens, 2, kMostTokens);
  section.Number("sequence_tokens", stage.sequence_tokens, 2, kMostTokens);
  section.Number("lr", stage.lr, 0.0, 10.0);
  stage.lr_end = stage.lr;
  section.Number("lr_end", stage.lr_end, 0.0, 10.0);
  section.Number("warmup_steps", stage.warmup_steps, 0, kMostSteps);
  section.Number("decay_steps", stage.decay_steps, 0, kMostSteps);
  section.Number("indexer_lr", stage.indexer_lr, 0.0, 10.0);
  section.Number("mtp_weight", stage.mtp_weight, 0.0, 10.0);
  section.Number("bias_speed", stage.bias_speed, 0.0, 1.0);
  section.Number("balance_weight", stage.balance_weight, 0.0, 1.0);
  std::string attention = stage.dense ? "dense" : "dsa";
  section.Choice("attention", attention, {"dense", "dsa"});
  stage.dense = attention == "dense";
  if (stage.warmup_steps + stage.decay_steps > stage.steps)
    section.Refuse({"steps", "warmup_steps", "decay_steps"}, "fewer than warmup_steps and decay_steps together");
  if (stage.kind == StageKind::kIndexerWarmup && stage.indexer_lr == 0)
    section.Refuse({"indexer_lr", "kind"}, "is 0, and the stage trains nothing else");
}

}  // namespace

const char* StageConfig::name() const { return kStageNames[static_cast<size_t>(kind)]; }

int64_t TrainConfig::total_steps() const {
  int64_t sum = 0;
  for (const StageConfig& stage : stages) sum += stage.steps;
  return sum;
}

Json TrainConfig::ToJson() const {
  Json json = {{"model", model},
               {"init", init},
               {"init_sigma", init_sigma},
               {"seed", seed},
               {"dtype", dtype},
               {"skip_bad_lines", skip_bad_lines},
               {"cut_long", cut_long},
               {"shuffle", shuffle},
               {"adamw", {adamw.beta1, adamw.beta2, adamw.eps, adamw.weight_decay, adamw.clip}},
               {"stages", Json::array()}};
  for (const StageConfig& s : stages)
    json["stages"].push_back({{"kind", s.name()},
                              {"data", s.data},
                              {"steps", s.steps},
                              {"batch_tokens", s.batch_tokens},
                              {"micro_tokens", s.micro_tokens},
                              {"sequence_tokens", s.sequence_tokens},
                              {"lr", s.lr},
                              {"lr_end", s.lr_end},
                              {"warmup_steps", s.warmup_steps},
                              {"decay_steps", s.decay_steps},
                              {"indexer_lr", s.indexer_lr},
                              {"mtp_weight", s.mtp_weight},
                              {"bias_speed", s.bias_speed},
                              {"balance_weight", s.balance_weight},
                              {"dense", s.dense}});
  return json;
}

Result<TrainConfig> ReadTrainConfig(const std::string& path) {
  MINKE_ASSIGN(ConfigFile file, ConfigFile::Open(path));
  TrainConfig config;
  ConfigSection root = file.root();
  root.Need("out");
  root.Text("out", config.out);
  root.Text("model", config.model);
  root.Text("init", config.init);
  root.Number("init_sigma", config.init_sigma, 0.0, 10.0);
  int64_t seed = 1;
  root.Number("seed", seed, 0, INT64_MAX);
  config.seed = static_cast<uint64_t>(seed);
  root.Choice("dtype", config.dtype, {"f32"});
  root.Number("threads", config.threads, 1, 1024);
  root.Number("checkpoint_every", config.checkpoint_every, 1, kMostSteps);
  root.Flag("skip_bad_lines", config.skip_bad_lines);
  root.Flag("cut_long", config.cut_long);
  root.Flag("shuffle", config.shuffle);
  if (config.model.empty() == config.init.empty())
    root.Refuse({"model", "init"},
                "the run needs one of `model` (weights to start from) and `init` (a config.json for random ones)");

  ReadOptimizer(root.Section("optimizer"), config.adamw);
  const auto sections = root.Sections("stage");
  if (sections.empty()) root.Refuse({"stage"}, "the run has no [[stage]]");
  for (const ConfigSection& section : sections) ReadStage(section, config.stages.emplace_back());
  MINKE_TRY(file.Finish());
  return config;
}

}  // namespace minke
