#include "minke/train/checkpoint.h"

#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <thread>

#include "minke/tensor/checkpoint.h"
#include "minke/train/small_run_testing.h"

namespace minke {
namespace {

namespace fs = std::filesystem;

class TrainingCheckpoint : public SmallRun {
 protected:
  TrainingCheckpoint() {
    for (size_t i = 0; i < optimizer_.mean().size(); ++i) {
      optimizer_.mean()[i] = static_cast<float>(i), optimizer_.square()[i] = 1 / static_cast<float>(i + 1);
    }
    optimizer_.steps = {.model = 5, .indexer = 2};
  }
  Status Save(int64_t step) {
    return SaveTraining(Path("run"), step, *parameters_, optimizer_, files_, {{"at", step}});
  }
  std::vector<std::string> Saved() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(Path("run"))) names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
  }

  ThreadPool pool_{1};
  const std::unique_ptr<Parameters> parameters_ = NewModel();
  AdamW optimizer_{*parameters_, TestKernels(), pool_, {}};
};

TEST_F(TrainingCheckpoint, BringsBackEveryNumber) {
  ASSERT_TRUE(Save(7));
  EXPECT_EQ(LatestTraining(Path("run")), Path("run/step-00000007"));
  const auto other = std::move(*Parameters::Random(config_, 99, 0.5));
  AdamW optimizer(*other, TestKernels(), pool_, {});
  const auto state = LoadTraining(Path("run/step-00000007"), *other, optimizer, [](const Json&) { return Status(); });
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ(*state, Json({{"at", 7}}));
  EXPECT_TRUE(std::ranges::equal(other->values(), parameters_->values()));
  EXPECT_TRUE(std::ranges::equal(optimizer.mean(), optimizer_.mean()));
  EXPECT_TRUE(std::ranges::equal(optimizer.square(), optimizer_.square()));
  EXPECT_EQ(optimizer.steps.model, 5);
  EXPECT_EQ(optimizer.steps.indexer, 2);
  EXPECT_TRUE(std::ranges::equal(SeenByModel(*other)->values(), parameters_->values())) << "not published";
}

TEST_F(TrainingCheckpoint, IsAModelWithCopiesForItsMtpLayer) {
  ASSERT_TRUE(Save(7));
  ASSERT_TRUE(SaveModel(Path("model"), *parameters_, files_));
  for (const char* folder : {"run/step-00000007", "model"}) {
    const auto model = Model::Open(Path(folder));
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_TRUE((*model)->has_mtp());
    for (const char* name : {"embed_tokens.weight", "shared_head.head.weight"})
      EXPECT_TRUE((*model)->checkpoint().Find(fmt::format("model.layers.2.{}", name))) << name;
    const auto copied = Parameters::Copy(**model, TestKernels(), Parameters::MtpCopies::kShared);
    ASSERT_TRUE(copied) << copied.error().message;
    EXPECT_TRUE(std::ranges::equal((*copied)->values(), parameters_->values()));
    EXPECT_EQ(Bytes(Path(folder) + "/tokenizer.json"), files_.texts[0].second);
  }
  EXPECT_FALSE(fs::exists(Path("model/training.json")));
}

TEST_F(TrainingCheckpoint, TwoAreKeptAndOnlyWholeOnesCount) {
  EXPECT_EQ(LatestTraining(Path("run")), std::nullopt);
  for (const int64_t step : {1, 2, 3, 10}) ASSERT_TRUE(Save(step));
  EXPECT_EQ(Saved(), (std::vector<std::string>{"step-00000003", "step-00000010"}));
  ASSERT_TRUE(Save(10));  // again, after a resume from an older one
  EXPECT_EQ(Saved(), (std::vector<std::string>{"step-00000003", "step-00000010"}));
  fs::create_directories(Path("run/step-00000011.partial"));
  Write("run/step-00000011.partial/training.json", "{}");
  fs::create_directories(Path("run/step-00000012"));  // not ours: no training.json
  EXPECT_EQ(LatestTraining(Path("run")), Path("run/step-00000010"));
  // What a kill leaves between the name of a new one and the end of an old one.
  fs::copy(Path("run/step-00000003"), Path("run/step-00000001"));
  for (const char* name : {"run/step-by-step.partial", "run/step-x"}) {  // not ours either
    fs::create_directories(Path(name));
    fs::copy(Path("run/step-00000003/training.json"), Path(name) + "/training.json");
  }
  RemoveOldTraining(Path("run"));
  EXPECT_EQ(Saved(), (std::vector<std::string>{"step-00000003", "step-00000010", "step-00000012",
                                               "step-by-step.partial", "step-x"}));
  EXPECT_EQ(LatestTraining(Path("run")), Path("run/step-00000010"));
}

TEST_F(TrainingCheckpoint, AnotherRunsIsRefusedBeforeAnythingIsFilled) {
  ASSERT_TRUE(Save(7));
  const auto other = std::move(*Parameters::Random(config_, 99, 0.5));
  const std::vector<float> before(other->values().begin(), other->values().end());
  AdamW optimizer(*other, TestKernels(), pool_, {});
  const auto refuse = [](const Json& state) -> Status {
    return Fail(Code::kCannotResume, "at {}", state["at"].get<int>());
  };
  const auto state = LoadTraining(Path("run/step-00000007"), *other, optimizer, refuse);
  ASSERT_FALSE(state);
  EXPECT_EQ(state.error().message, "at 7");
  EXPECT_TRUE(std::ranges::equal(other->values(), before));
}

TEST_F(TrainingCheckpoint, ADamagedOneSaysWhatToRemove) {
  ASSERT_TRUE(Save(6));
  const auto message = [&](const std::string& folder) {
    std::ofstream(folder + "/training.json") << "{";
    return LoadTraining(folder, *parameters_, optimizer_, [](const Json&) { return Status(); }).error().message;
  };
  const std::string only = Path("run/step-00000006"), last = Path("run/step-00000007");
  EXPECT_TRUE(message(only).ends_with("; remove " + only + " to begin anew")) << message(only);
  ASSERT_TRUE(Save(7));
  EXPECT_TRUE(message(last).ends_with("; remove " + last + " to go on from the checkpoint before it"));
}

TEST_F(TrainingCheckpoint, HoldsNoWeightThatIsNotFinite) {
  ASSERT_TRUE(Save(1));
  parameters_->values_of(parameters_->list()[3])[0] = std::numeric_limits<float>::quiet_NaN();
  const auto refused = Save(2);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find(parameters_->list()[3].name), std::string::npos) << refused.error().message;
  EXPECT_EQ(Saved(), std::vector<std::string>{"step-00000001"});
}

TEST_F(TrainingCheckpoint, OneRunAtATimeWritesIntoAFolder) {
  {
    const auto first = RunLock::Take(Path("run"));
    ASSERT_TRUE(first) << first.error().message;
    const auto second = RunLock::Take(Path("run"), /*patience_ms=*/20);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("another run is writing there"), std::string::npos);
  }
  EXPECT_TRUE(RunLock::Take(Path("run"))) << "released with the first";
}

// A lock that is held a moment longer, as by a process that was killed and is not gone yet.
TEST_F(TrainingCheckpoint, ARunWaitsForOneThatIsEnding) {
  std::optional<Result<RunLock>> first = RunLock::Take(Path("run"));
  std::thread ending([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    first.reset();
  });
  const auto second = RunLock::Take(Path("run"));
  EXPECT_TRUE(second) << second.error().message;
  ending.join();
}

TEST_F(TrainingCheckpoint, ConfigurationsAreComparedBothWays) {
  EXPECT_TRUE(CheckSameRun({{"a", 1}}, {{"a", 1}}, "run"));
  EXPECT_NE(CheckSameRun({{"a", 2}}, {{"a", 1}}, "run").error().message.find("(a differs)"), std::string::npos);
  EXPECT_EQ(CheckSameRun({{"a", 1}, {"b", 1}}, {{"a", 1}}, "run").error().code, Code::kCannotResume);
}

TEST_F(TrainingCheckpoint, DamageIsNamedNeverACrash) {
  const std::string folder = Path("run/step-00000007"), json = folder + "/training.json";
  const auto load = [&] {
    AdamW optimizer(*parameters_, TestKernels(), pool_, {});
    const auto state = LoadTraining(folder, *parameters_, optimizer, [](const Json&) { return Status(); });
    return state ? std::string("loaded") : fmt::format("{}: {}", ExitCode(state.error().code), state.error().message);
  };
  const auto with = [&](const std::string& file, auto&& change, const char* message, const char* code = "4: ") {
    ASSERT_TRUE(Save(7));
    std::string bytes = Bytes(folder + "/" + file);
    change(bytes);
    std::ofstream(folder + "/" + file, std::ios::binary) << bytes;
    const std::string result = load();
    EXPECT_TRUE(result.starts_with(code) && result.find(message) != std::string::npos)
        << file << ": " << result << ", expected " << message;
    EXPECT_NE(result.find(file), std::string::npos) << result;
  };
  const auto json_with = [&](const char* patch, const char* message, const char* code = "4: ") {
    with(
        "training.json",
        [&](std::string& bytes) {
          Json parsed = *ParseJson(bytes, "own");
          parsed.merge_patch(*ParseJson(patch, "patch"));
          bytes = parsed.dump();
        },
        message, code);
  };
  with("training.json", [](std::string& b) { b.resize(b.size() / 2); }, "");
  with("training.json", [](std::string& b) { b = "[1]"; }, "no state of a training run");
  with("training.json", [](std::string& b) { b.clear(); }, "");
  for (const char* version : {R"({"version": 2})", R"({"version": "x"})", R"({"version": {}})"})
    json_with(version, "another version of minke", "10: ");
  json_with(R"({"optimizer_steps": 3})", "no state of a training run");
  json_with(R"({"optimizer_steps": {"model": "x"}})", "no state of a training run");
  json_with(R"({"optimizer_steps": {"indexer": null}})", "no state of a training run");
  json_with(R"({"state": null})", "no state of a training run");
  with("model.safetensors", [](std::string& b) { b.resize(b.size() - 4); }, "");
  with(
      "model.safetensors", [](std::string& b) { b.replace(b.find("model.norm.weight"), 5, "mosel"); },
      "model.norm.weight is missing", "10: ");
  with("training.safetensors", [](std::string& b) { b.resize(10); }, "");
  with(
      "training.safetensors", [](std::string& b) { b.replace(b.find("square"), 6, "sqvare"); }, "square is missing",
      "10: ");
  ASSERT_TRUE(Save(7));
  fs::remove(folder + "/training.safetensors");
  EXPECT_TRUE(load().starts_with("3: ")) << load();
  ASSERT_TRUE(Save(7));
  EXPECT_EQ(load(), "loaded");
}

TEST_F(TrainingCheckpoint, AFullDiskLeavesTheOlderOnes) {
  ASSERT_TRUE(Save(1));
  ASSERT_TRUE(Save(2));
  const auto before = AllBytes(Path("run"));
  struct rlimit old;
  getrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t bytes :
       {rlim_t{100}, rlim_t{100'000}, rlim_t{before.at("step-00000002/model.safetensors").size()}}) {
    const struct rlimit tight = {bytes, old.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tight);
    const Status full = Save(3);
    setrlimit(RLIMIT_FSIZE, &old);
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().code, Code::kFailed);
    EXPECT_NE(full.error().message.find("step-00000003.partial/"), std::string::npos) << full.error().message;
    EXPECT_TRUE(AllBytes(Path("run")) == before);
    EXPECT_EQ(LatestTraining(Path("run")), Path("run/step-00000002"));
  }
  EXPECT_TRUE(Save(3));
}

}  // namespace
}  // namespace minke
