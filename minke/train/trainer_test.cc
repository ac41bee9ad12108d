// Runs: PyTorch's loss curve; interrupted anywhere, the same bytes; what goes wrong leaves the last checkpoint whole.
#include "minke/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "minke/tensor/safetensors.h"
#include "minke/train/checkpoint.h"
#include "minke/train/small_run_testing.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

class LossCurve : public SmallRun {
 protected:
  // Golden token ids as a text of added tokens, so that batches go the way of all data.
  void WriteBatches() {
    BpeTrainerOptions options;
    for (int id = 0; id < 64; ++id) options.special_tokens.push_back(fmt::format("<{}>", id));
    options.vocab_size = 64 + 256;
    tokenizer_ = std::move(*Tokenizer::Parse(BpeTrainer().Train(options)->TokenizerJson(), "ids"));
    encoder_ = std::make_unique<DocumentEncoder>(
        *DocumentEncoder::Create(*tokenizer_, choice_, {.begin_token = false, .end_token = false}));
    const auto batches = std::move(*OpenSafetensors(MINKE_TEST_DATA "/golden/loss_curve/batches.safetensors"));
    std::string text;
    for (int step = 0; step < 200; ++step) {
      const TensorRef* ids = batches->Find(fmt::format("input_ids.{}", step));
      ASSERT_TRUE(ids && ids->dtype == DType::kI16 && ids->num_elements() == 4 * 64);
      for (int i = 0; i < 4 * 64; ++i) {
        int16_t id;
        std::memcpy(&id, ids->bytes.data() + 2 * i, 2);
        text += i % 64 == 0 ? "{\"text\": \"" : "";
        text += fmt::format("<{}>", id);
        text += i % 64 == 63 ? "\"}\n" : "";
      }
    }
    Write("batches.jsonl", text);
  }
  std::vector<double> Run(const std::string& name, int threads, const std::string& out) {
    const std::string golden = std::string(MINKE_TEST_DATA) + "/golden/loss_curve/" + name;
    const auto model = std::move(*Model::Open(golden));
    const auto parameters = std::move(*Parameters::Copy(*model, TestKernels(), Parameters::MtpCopies::kShared));
    TrainConfig config;
    config.out = Path(out), config.shuffle = false;
    config.stages = {{.kind = StageKind::kPretrain,
                      .data = {Path("batches.jsonl")},
                      .steps = 200,
                      .sequence_tokens = 64,
                      .batch_tokens = 256,
                      .dense = false}};
    ThreadPool pool(threads);
    std::vector<double> losses;
    TrainHooks hooks;
    hooks.on_step = [&](const StepReport& r) { losses.push_back(r.loss); };
    const auto result = Train(config, *parameters, files_, *encoder_, TestKernels(), pool, hooks);
    EXPECT_TRUE(result && result->finished) << result.error().message;
    return losses;
  }
  std::vector<double> Golden(const std::string& name) const {
    const std::string file = std::string(MINKE_TEST_DATA) + "/golden/loss_curve/" + name + "/expected.json";
    return (*ParseJson(Bytes(file), file))["losses"].get<std::vector<double>>();
  }
};

TEST_F(LossCurve, IsPyTorchsOver200StepsAndTheSameOnTwoThreads) {
  WriteBatches();
  const std::vector<double> losses = Run("all", 1, "one"), want = Golden("all");
  ASSERT_EQ(losses.size(), want.size());
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) worst = std::max(worst, std::fabs(losses[i] - want[i]));
  EXPECT_LT(worst, 1e-4);  // the README asks for 1e-3, and says what 1e-4 proves more
  RecordProperty("worst", std::to_string(worst));
  EXPECT_EQ(Run("all", 2, "two"), losses);
  EXPECT_TRUE(Bytes(Path("one/model/model.safetensors")) == Bytes(Path("two/model/model.safetensors")));
}

TEST_F(LossCurve, WithChoicesIsPyTorchsUntilRoundingMakesAnother) {
  WriteBatches();
  const std::vector<double> losses = Run("chosen", 2, "out"), want = Golden("chosen");
  ASSERT_EQ(losses.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(losses[i], want[i], i < 10 ? 1e-3 : 0.1) << "step " << i;
}

// ---- Every stage in one run.

class Trainer : public SmallRun {
 protected:
  static constexpr int64_t kSteps = 10;

  TrainConfig Config(const std::string& out) {
    TrainConfig config;
    config.out = Path(out), config.init = "small", config.seed = 3, config.checkpoint_every = 3;
    const std::string texts = WriteTexts("texts.jsonl", 25), messages = WriteMessages("messages.jsonl", 25);
    const auto stage = [&](StageKind kind, const std::string& data) {
      StageConfig s{.kind = kind, .data = {data}, .steps = 2, .sequence_tokens = 24, .batch_tokens = 72};
      s.micro_tokens = 48;  // the last of a step is smaller
      s.lr = 2e-3, s.lr_end = 1e-3, s.indexer_lr = 1e-3, s.warmup_steps = 1, s.decay_steps = 1;
      s.mtp_weight = 0.3, s.bias_speed = 0.01, s.balance_weight = 0.01;
      s.dense = kind != StageKind::kSparse && kind != StageKind::kDistill;
      return s;
    };
    config.stages = {stage(StageKind::kPretrain, texts), stage(StageKind::kSft, messages),
                     stage(StageKind::kIndexerWarmup, texts), stage(StageKind::kSparse, texts),
                     stage(StageKind::kDistill, messages)};
    return config;
  }
  Result<TrainResult> Run(const TrainConfig& config, const TrainHooks& hooks = {}, int threads = 1) {
    const auto parameters = NewModel();
    ThreadPool pool(threads);
    return Train(config, *parameters, files_, *encoder_, TestKernels(), pool, hooks);
  }
  // Stops after `steps` of this process.
  Result<TrainResult> RunFor(const TrainConfig& config, int steps, int threads = 1) {
    TrainHooks hooks;
    hooks.should_stop = [&steps] { return --steps <= 0; };
    return Run(config, hooks, threads);
  }
  // Metrics without the times.
  static std::vector<Json> Metrics(const std::string& path) {
    std::vector<Json> lines;
    std::istringstream text(Bytes(path));
    for (std::string line; std::getline(text, line);) {
      lines.push_back(*ParseJson(line, path));
      lines.back().erase("seconds");
      lines.back().erase("cpu_seconds");
    }
    return lines;
  }
};

TEST_F(Trainer, ARunInterruptedAnywhereEndsWithTheSameBytes) {
  const TrainConfig whole = Config("whole");
  const auto result = Run(whole);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(result->finished);
  EXPECT_EQ(result->steps, kSteps);
  const auto bytes = AllBytes(whole.out + "/model");
  const std::vector<Json> metrics = Metrics(whole.out + "/metrics.jsonl");
  ASSERT_EQ(metrics.size(), static_cast<size_t>(kSteps));
  for (int stop = 1; stop < kSteps; ++stop) {
    TrainConfig config = Config(fmt::format("at-{}", stop));
    config.checkpoint_every = 1000;  // but for the ends of stages
    const auto first = RunFor(config, stop);
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_FALSE(first->finished);
    EXPECT_EQ(first->steps, stop);
    EXPECT_FALSE(fs::exists(config.out + "/model"));
    const auto second = Run(config, {}, 2);  // on another number of threads
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_EQ(second->resumed_at, stop);
    EXPECT_TRUE(second->finished);
    EXPECT_TRUE(AllBytes(config.out + "/model") == bytes) << "stopped after " << stop;
    EXPECT_EQ(Metrics(config.out + "/metrics.jsonl"), metrics);
  }
  const TrainConfig each = Config("each");
  for (int step = 1; step < kSteps; ++step) ASSERT_TRUE(RunFor(each, 1));
  ASSERT_TRUE(Run(each));
  EXPECT_TRUE(AllBytes(each.out + "/model") == bytes);
  // And once it is done, the same command does nothing more.
  const auto again = Run(each);
  ASSERT_TRUE(again && again->finished);
  EXPECT_EQ(again->resumed_at, kSteps);
  EXPECT_TRUE(AllBytes(each.out + "/model") == bytes);
}

// What a kill leaves: a checkpoint that is older than the metrics, and folders in the making.
TEST_F(Trainer, AKilledRunGoesOnFromTheLastWholeCheckpoint) {
  const TrainConfig whole = Config("whole"), killed = Config("killed");
  ASSERT_TRUE(Run(whole));
  ASSERT_TRUE(RunFor(killed, 7));
  fs::remove_all(killed.out + "/step-00000007");
  fs::create_directories(killed.out + "/step-00000008.partial");
  Write("killed/step-00000008.partial/model.safetensors", "cut");
  fs::create_directories(killed.out + "/step-00000009");
  const auto result = Run(killed);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->resumed_at, 6);
  EXPECT_TRUE(AllBytes(killed.out + "/model") == AllBytes(whole.out + "/model"));
  EXPECT_EQ(Metrics(killed.out + "/metrics.jsonl"), Metrics(whole.out + "/metrics.jsonl"));
}

TEST_F(Trainer, EachStageTrainsItsShare) {
  TrainConfig config = Config("out");
  const auto stages = config.stages;
  for (size_t i = 0; i < 2 * stages.size(); ++i) {
    StageConfig stage = stages[i / 2];
    if (i % 2 == 1) stage.mtp_weight = 0;
    config.out = Path(fmt::format("{}", i));
    config.stages = {stage};
    const auto parameters = NewModel(), start = NewModel();
    ThreadPool pool(1);
    StepReport last;
    TrainHooks hooks;
    hooks.on_step = [&](const StepReport& r) { last = r; };
    ASSERT_TRUE(Train(config, *parameters, files_, *encoder_, TestKernels(), pool, hooks));
    for (const Parameter& p : parameters->list()) {
      const bool trained =
          (p.indexer ? stage.trains_indexer() : stage.trains_model()) && (stage.mtp_weight > 0 || !p.mtp);
      const bool changed = !std::ranges::equal(parameters->values_of(p), start->values_of(p));
      EXPECT_EQ(changed, trained) << stage.name() << ": " << p.name;
    }
    EXPECT_EQ(std::isfinite(last.loss), stage.trains_model()) << stage.name();
    EXPECT_EQ(std::isfinite(last.mtp_loss), stage.trains_model() && stage.mtp_weight > 0) << stage.name();
    EXPECT_EQ(last.indexer_kl > 0, stage.trains_indexer()) << stage.name();
    EXPECT_GE(last.expert_imbalance, 1);
  }
}

TEST_F(Trainer, AModelLearnsWhatRepeatsItself) {
  TrainConfig config = Config("out");
  config.stages = {config.stages[0]};
  config.stages[0].steps = 40, config.stages[0].lr = config.stages[0].lr_end = 1e-2, config.stages[0].decay_steps = 0;
  std::vector<double> losses;
  TrainHooks hooks;
  hooks.on_step = [&](const StepReport& r) { losses.push_back(r.loss); };
  ASSERT_TRUE(Run(config, hooks));
  EXPECT_NEAR(losses.front(), std::log(272.0), 0.3);
  EXPECT_LT(losses.back(), 0.6 * losses.front());
}

TEST_F(Trainer, ANumberThatIsNotFiniteStopsTheRunAndKeepsTheCheckpoint) {
  TrainConfig config = Config("out");
  config.stages = {config.stages[0]}, config.stages[0].steps = 8;
  const auto parameters = NewModel();
  ThreadPool pool(1);
  TrainHooks hooks;
  std::map<std::string, std::string> before;
  hooks.on_step = [&](const StepReport& r) {
    if (r.step != 4) return;  // the last checkpoint is that of step 3
    before = AllBytes(config.out + "/step-00000003");
    for (const Parameter& p : parameters->list())
      if (p.name == "model.layers.0.mlp.down_proj.weight")
        parameters->values_of(p)[5] = std::numeric_limits<float>::quiet_NaN();
  };
  const auto result = Train(config, *parameters, files_, *encoder_, TestKernels(), pool, hooks);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kFailed);
  EXPECT_NE(result.error().message.find("step 5: "), std::string::npos) << result.error().message;
  EXPECT_NE(result.error().message.find("the weights of model.layers.0.mlp.down_proj.weight"), std::string::npos)
      << result.error().message;
  ASSERT_FALSE(before.empty());
  EXPECT_TRUE(AllBytes(*LatestTraining(config.out)) == before);
  const auto resumed = Run(config);  // without whatever broke it
  ASSERT_TRUE(resumed) << resumed.error().message;
  EXPECT_EQ(resumed->resumed_at, 3);
}

TEST_F(Trainer, AnotherConfigurationCannotResume) {
  const TrainConfig config = Config("out");
  ASSERT_TRUE(RunFor(config, 2));
  fs::create_directories(config.out + "/step-00000003.partial");  // also what a kill left stays
  Write("out/step-00000003.partial/model.safetensors", "cut");
  const auto before = AllBytes(config.out);
  const auto refused = [&](const char* key, auto&& change) {
    TrainConfig other = config;
    change(other);
    const auto result = Run(other);
    ASSERT_FALSE(result) << key;
    EXPECT_EQ(result.error().code, Code::kCannotResume) << key;
    EXPECT_NE(result.error().message.find(fmt::format("({} differs)", key)), std::string::npos)
        << result.error().message;
    EXPECT_TRUE(AllBytes(config.out) == before) << key;
  };
  refused("seed", [](TrainConfig& c) { c.seed = 4; });
  refused("adamw", [](TrainConfig& c) { c.adamw.beta2 = 0.9f; });
  refused("stages", [](TrainConfig& c) { c.stages[4].lr *= 2; });
  refused("stages", [](TrainConfig& c) { c.stages.pop_back(); });
  // Other data under the same name.
  const TrainConfig first = Config("other");
  ASSERT_TRUE(RunFor(first, 1));
  Write("texts.jsonl", "{\"text\": \"other\"}\n");
  const auto result = Run(first);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kCannotResume) << result.error().message;
  // Threads, the pace of checkpoints, and to skip bad lines from now on may change.
  TrainConfig moved = Config("out");
  moved.threads = 2, moved.checkpoint_every = 1, moved.skip_bad_lines = true;
  EXPECT_TRUE(Run(moved, {}, 2));
}

TEST_F(Trainer, ABadLineIsNamedOrSkipped) {
  TrainConfig config = Config("out");
  config.stages = {config.stages[0]};
  config.stages[0].data = {Write("bad.jsonl", "{\"text\": \"one line\"}\n{\"text\": 5}\n{\"text\": \"another\"}\n")};
  const auto result = Run(config);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kInvalidArgument);
  EXPECT_NE(result.error().message.find("bad.jsonl:2: "), std::string::npos) << result.error().message;
  config.skip_bad_lines = true;
  config.out = Path("skipping");
  const auto skipped = Run(config);
  EXPECT_TRUE(skipped) << skipped.error().message;
}

// Nothing before a bad line is lost: the run goes on without it from the step that it stopped.
TEST_F(Trainer, ABadLineLeavesACheckpointOfTheStepsBefore) {
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += i == 30 ? "{\"text\": 5}\n" : "{\"text\": \"one line of the text\"}\n";
  TrainConfig config = Config("out");
  config.shuffle = false, config.checkpoint_every = 1000;
  config.stages = {config.stages[0]};
  config.stages[0].steps = 20, config.stages[0].batch_tokens = 64, config.stages[0].sequence_tokens = 32;
  config.stages[0].data = {Write("bad.jsonl", lines)};
  int64_t steps = 0;
  TrainHooks hooks;
  hooks.on_step = [&](const StepReport& r) { steps = r.step; };
  const auto ended = Run(config, hooks);
  ASSERT_FALSE(ended);
  EXPECT_NE(ended.error().message.find("bad.jsonl:31: "), std::string::npos) << ended.error().message;
  EXPECT_NE(ended.error().message.find(fmt::format("the {} steps before are saved", steps)), std::string::npos);
  ASSERT_GT(steps, 1);
  EXPECT_EQ(LatestTraining(config.out), fmt::format("{}/step-{:08}", config.out, steps));
  config.skip_bad_lines = true;
  const auto resumed = Run(config);
  ASSERT_TRUE(resumed) << resumed.error().message;
  EXPECT_EQ(resumed->resumed_at, steps);
  const auto bytes = AllBytes(config.out + "/model");
  config.out = Path("whole");
  ASSERT_TRUE(Run(config));
  EXPECT_TRUE(AllBytes(config.out + "/model") == bytes);
}

TEST_F(Trainer, WeightsThatAreNotFiniteDoNotBegin) {
  const auto parameters = NewModel();
  const Parameter& broken = parameters->list()[4];
  parameters->values_of(broken)[0] = std::numeric_limits<float>::infinity();
  ThreadPool pool(1);
  const auto result = Train(Config("out"), *parameters, files_, *encoder_, TestKernels(), pool, {});
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("the weights of " + broken.name), std::string::npos) << result.error().message;
}

}  // namespace
}  // namespace minke
