#include "minke/cli/lab_plan.h"

#include <filesystem>

#include "minke/base/file.h"
#include "minke/cli/lab_cost.h"
#include "minke/cli/lab_data.h"
#include "minke/cli/lab_measure.h"
#include "minke/cli/lab_probe.h"
#include "minke/cli/lab_train.h"
#include "minke/cli/machine.h"
#include "minke/cli/model_path.h"
#include "minke/kernels/kernel_set.h"

namespace minke {
namespace {

constexpr uint64_t kHeldOutSeed = 7;

class Planner {
 public:
  explicit Planner(const LabSetup& setup) : setup_(setup), recipe_(setup.recipe) {}
  Result<std::vector<LabJob>> Plan();

 private:
  std::string Folder(const std::string& job) const { return LabJobFolder(setup_.out, job); }
  std::string ModelOf(const std::string& job) const { return Folder(job) + "/run/model"; }
  std::string Data(const std::string& file) const { return Folder("data") + "/" + file; }
  void Add(LabJob job) { jobs_.push_back(std::move(job)); }
  void AddTraining(const std::string& name, std::vector<std::string> after, TrainConfig config);
  void AddRl(const std::string& name, RlConfig config);
  void AddAsk(const std::string& name, std::vector<std::string> after, LabAsk ask);
  static TrainConfig Training(uint64_t seed);
  StageConfig Stage(StageKind kind, const LabTraining& training, std::vector<std::string> data, int64_t steps) const;
  RlConfig Rl(const LabArm& arm, const std::string& task, uint64_t seed) const;

  Status Data();
  Status Start();
  void Countdown();
  void Parity();
  void Lookup();
  void Arms();
  void Mixed();
  void Cost();
  void Kernels();

  const LabSetup& setup_;
  const LabRecipe& recipe_;
  std::vector<LabJob> jobs_;
  bool trains_ = false;                   // the countdown models from random weights
  std::string start_;                     // model
  std::vector<std::string> after_start_;  // jobs that make it
  int64_t index_topk_ = 0;
};

void Planner::AddTraining(const std::string& name, std::vector<std::string> after, TrainConfig config) {
  const Json key = config.ToJson();
  Add({name, std::move(after), key, [config = std::move(config), &setup = setup_, name](const LabWork& work) {
         return LabTrain(config, setup.isa, setup.quiet, name, work);
       }});
  jobs_.back().most_threads = 0;
  jobs_.back().tidy = LabDropCheckpoints;
}

void Planner::AddRl(const std::string& name, RlConfig config) {
  std::vector<std::string> after = after_start_;
  if (config.model == ModelOf("distilled")) after = {"distilled"};
  Json key = config.ToJson();
  key["steps"] = config.steps;  // a run may go on with more of them, but this job ends there
  // One thread each: then CPU seconds of the arms compare.
  Add({name, std::move(after), key, [config = std::move(config), &setup = setup_, name](const LabWork& work) {
         return LabReinforce(config, setup.isa, setup.quiet, name, work);
       }});
  jobs_.back().tidy = LabDropCheckpoints;
}

void Planner::AddAsk(const std::string& name, std::vector<std::string> after, LabAsk ask) {
  const Json key = ask.ToJson();
  Add({name, std::move(after), key,
       [ask = std::move(ask), isa = setup_.isa](const LabWork& work) { return AskModel(ask, isa, work); }});
}

TrainConfig Planner::Training(uint64_t seed) {
  TrainConfig config;
  config.seed = seed;
  config.checkpoint_every = 50;
  config.adamw.weight_decay = 0.01f;
  return config;
}

StageConfig Planner::Stage(StageKind kind, const LabTraining& training, std::vector<std::string> data,
                           int64_t steps) const {
  StageConfig stage;
  stage.kind = kind;
  stage.data = std::move(data);
  stage.steps = steps;
  stage.sequence_tokens = training.sequence_tokens, stage.batch_tokens = training.batch_tokens;
  stage.micro_tokens = training.batch_tokens;
  stage.dense = kind != StageKind::kSparse && kind != StageKind::kDistill;
  stage.lr = stage.dense ? training.lr : training.sparse_lr;
  stage.lr_end = stage.dense ? training.lr_end : training.sparse_lr_end;
  stage.warmup_steps = std::min<int64_t>(steps / 10, 50);
  stage.decay_steps = stage.trains_model() ? (steps - stage.warmup_steps) * 3 / 4 : 0;
  stage.indexer_lr = training.indexer_lr;
  stage.mtp_weight = training.mtp_weight;
  stage.bias_speed = training.bias_speed, stage.balance_weight = training.balance_weight;
  return stage;
}

RlConfig Planner::Rl(const LabArm& arm, const std::string& task, uint64_t seed) const {
  RlConfig config;
  config.model = start_;
  config.seed = seed;
  config.steps = arm.steps;
  config.questions = recipe_.rl.questions, config.answers = recipe_.rl.answers;
  config.mini_batches = recipe_.rl.mini_batches;
  config.max_tokens = arm.think_budget + 1 + recipe_.rl.answer_tokens;
  config.max_sequences = config.questions * config.answers;
  config.checkpoint_every = recipe_.rl.checkpoint_every;
  config.lr = recipe_.rl.lr;
  RlTask& mixed = config.tasks.emplace_back();
  mixed.name = task;
  mixed.think_budget = arm.think_budget;
  mixed.answer_tokens = recipe_.rl.answer_tokens;
  mixed.reward.length_penalty = arm.length_penalty;
  return config;
}

Status Planner::Data() {
  MINKE_ASSIGN(const LabBase base, FindLabBase(recipe_));
  index_topk_ = base.index_topk;
  const std::vector<LabFile> files = LabFiles(recipe_, index_topk_);
  Json key = {{"base", base.key}};
  for (const LabFile& file : files) key["files"].push_back(file.ToJson());
  Add({"data", {}, key, [base, files](const LabWork& work) { return WriteLabData(base, files, work); }});
  return {};
}

// A model from outside: what comes after it is done again when its files change.
Status Planner::Start() {
  MINKE_ASSIGN(const ModelPath path, FindModel(setup_.start));
  Json files = Json::object();
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path.folder, error))
    if (entry.is_regular_file(error))
      files[entry.path().filename().string()] = {entry.file_size(error),
                                                 entry.last_write_time(error).time_since_epoch().count()};
  start_ = path.folder.empty() ? path.path : path.folder;
  after_start_ = {"start"};
  Add({"start", {}, {{"model", start_}, {"files", files}}, [](const LabWork&) -> Result<Json> {
         return Json::object();
       }});
  return {};
}

void Planner::Countdown() {
  const LabTraining& t = recipe_.countdown;
  const std::vector<std::string> data = {Data("countdown.jsonl"), Data("tool.jsonl")};
  TrainConfig dense = Training(1);
  dense.init = Data("base");
  dense.stages = {Stage(StageKind::kSft, t, data, t.dense_steps)};
  AddTraining("dense", {"data"}, dense);
  TrainConfig sparse = Training(2);
  sparse.model = ModelOf("dense");
  sparse.stages = {Stage(StageKind::kIndexerWarmup, t, data, t.warmup_steps),
                   Stage(StageKind::kSparse, t, data, t.sparse_steps)};
  AddTraining("sparse", {"dense"}, sparse);
}

// The control goes on densely with the data and rates of the sparse stage: what differs is the attention.
void Planner::Parity() {
  const LabTraining& t = recipe_.countdown;
  TrainConfig control = Training(3);  // the seed of a run's second stage is one more
  control.model = ModelOf("dense");
  control.stages = {Stage(StageKind::kSft, t, {Data("countdown.jsonl"), Data("tool.jsonl")}, t.sparse_steps)};
  control.stages[0].lr = t.sparse_lr, control.stages[0].lr_end = t.sparse_lr_end;
  AddTraining("control", {"dense"}, control);
  const Json key = {{"documents", recipe_.heldout_documents}, {"recall_documents", recipe_.recall_documents}};
  Add({"parity",
       {"sparse", "control"},
       key,
       [this_recipe = recipe_, isa = setup_.isa, dense = ModelOf("control"),
        sparse = ModelOf("sparse")](const LabWork& work) -> Result<Json> {
         MINKE_ASSIGN(const auto task, FindTask("countdown"));
         MINKE_ASSIGN(const auto control_probe, LabProbe::Open(dense, isa, work.threads));
         MINKE_ASSIGN(const auto probe, LabProbe::Open(sparse, isa, work.threads));
         MINKE_ASSIGN(const auto documents, probe->HeldOut(*task, kHeldOutSeed, this_recipe.heldout_documents));
         Json result;
         MINKE_ASSIGN(result["dense_loss"], control_probe->Loss(documents, Attention::kDense));
         MINKE_ASSIGN(result["sparse_loss"], probe->Loss(documents, Attention::kDsa));
         MINKE_ASSIGN(result["sparse_weights_dense_loss"], probe->Loss(documents, Attention::kDense));
         const auto few =
             std::span(documents).first(std::min(documents.size(), static_cast<size_t>(this_recipe.recall_documents)));
         MINKE_ASSIGN(result["recall"], probe->Recall(few));
         return result;
       }});
  for (const bool of_dense : {true, false}) {
    LabAsk ask{
        .model = ModelOf(of_dense ? "control" : "sparse"), .budgets = {192}, .problems = recipe_.parity_problems};
    ask.dense = of_dense;
    AddAsk(of_dense ? "parity-dense" : "parity-sparse", {of_dense ? "control" : "sparse"}, ask);
  }
}

// From a model that has learnt to copy on countdown: from random weights that alone takes millions of tokens.
void Planner::Lookup() {
  const LabTraining& t = recipe_.lookup_training;
  const std::vector<std::string> data = {Data("lookup.jsonl")};
  TrainConfig config = Training(4);
  config.model = trains_ ? ModelOf("dense") : start_;
  config.stages = {Stage(StageKind::kSft, t, data, t.dense_steps),
                   Stage(StageKind::kIndexerWarmup, t, data, t.warmup_steps),
                   Stage(StageKind::kSparse, t, data, t.sparse_steps)};
  if (recipe_.lookup.short_steps > 0) {
    StageConfig first = Stage(StageKind::kSft, t, {Data("lookup-short.jsonl")}, recipe_.lookup.short_steps);
    first.lr_end = first.lr;
    config.stages.insert(config.stages.begin(), first);
  }
  AddTraining("lookup-model", {"data", trains_ ? "dense" : "start"}, config);
  const std::string task_name = LabLookupTask(recipe_.lookup, index_topk_);
  const Json key = {{"task", task_name}, {"problems", recipe_.lookup.problems}};
  Add({"lookup",
       {"lookup-model"},
       key,
       [recipe = recipe_, isa = setup_.isa, model = ModelOf("lookup-model"),
        task_name](const LabWork& work) -> Result<Json> {
         MINKE_ASSIGN(const auto task, FindTask(task_name));
         MINKE_ASSIGN(const auto probe, LabProbe::Open(model, isa, work.threads));
         MINKE_ASSIGN(const auto documents, probe->HeldOut(*task, kHeldOutSeed, recipe.lookup.problems));
         Json result = {
             {"task", task_name}, {"index_topk", probe->config().index_topk}, {"problems", recipe.lookup.problems}};
         const std::pair<const char*, LabSelection> selections[] = {{"dense", LabSelection::kDense},
                                                                    {"indexer", LabSelection::kIndexer},
                                                                    {"random", LabSelection::kRandom},
                                                                    {"window", LabSelection::kWindow}};
         for (const auto& [name, selection] : selections) {
           MINKE_ASSIGN(result[name], probe->Exact(documents, selection, kHeldOutSeed));
         }
         const auto few =
             std::span(documents).first(std::min(documents.size(), static_cast<size_t>(recipe.recall_documents)));
         MINKE_ASSIGN(result["recall"], probe->Recall(few));
         return result;
       }});
}

void Planner::Arms() {
  if (setup_.Has("budget"))
    for (int64_t seed = 1; seed <= setup_.seeds; ++seed)
      AddAsk(EvalJobName("sft", seed), after_start_,
             {.model = start_,
              .budgets = recipe_.eval.budgets,
              .problems = recipe_.eval.problems,
              .problem_seed = recipe_.eval.problem_seed,
              .seed = static_cast<uint64_t>(seed)});
  for (int64_t seed = 1; seed <= setup_.seeds; ++seed)
    for (const LabArm& arm : recipe_.arms)
      AddRl(RlJobName(arm, seed), Rl(arm, "countdown", static_cast<uint64_t>(seed)));
  if (!setup_.Has("budget")) return;
  for (int64_t seed = 1; seed <= setup_.seeds; ++seed)
    for (const LabArm& arm : recipe_.arms)
      AddAsk(EvalJobName(arm.name, seed), {RlJobName(arm, seed)},
             {.model = ModelOf(RlJobName(arm, seed)),
              .budgets = recipe_.eval.budgets,
              .problems = recipe_.eval.problems,
              .problem_seed = recipe_.eval.problem_seed,
              .seed = static_cast<uint64_t>(seed)});
}

void Planner::Mixed() {
  const LabMix& mix = recipe_.mix;
  const LabArm specialist{"", 0, mix.think_budget, mix.specialist_steps},
      both{"", 0, mix.think_budget, mix.mixed_steps};
  const auto job_of = [](const std::string& task) {
    return task == "countdown" ? std::string("specialist-countdown") : std::string("specialist-tool");
  };
  std::vector<std::string> sample_jobs, accepted;
  for (const std::string task : kMixTasks) {
    const std::string specialist_job = job_of(task), samples = "samples-" + task;
    AddRl(specialist_job, Rl(specialist, task, 1));
    const Json key = {{"task", task}, {"budget", mix.think_budget}, {"samples", mix.samples}};
    Add({samples,
         {specialist_job},
         key,
         [mix, task, isa = setup_.isa, model = ModelOf(specialist_job)](const LabWork& work) {
           return AcceptSamples(model, task, mix.think_budget, mix.samples, /*seed=*/11, isa, work);
         }});
    sample_jobs.push_back(samples);
    accepted.push_back(Folder(samples) + "/accepted.jsonl");
  }
  TrainConfig distill = Training(5);
  distill.model = start_;
  distill.stages = {Stage(StageKind::kDistill, recipe_.countdown, accepted, mix.distill_steps)};
  distill.stages[0].lr = mix.lr, distill.stages[0].lr_end = mix.lr_end;
  AddTraining("distilled", sample_jobs, distill);
  RlConfig mixed = Rl(both, kMixTasks[0], 1);
  mixed.model = ModelOf("distilled");
  mixed.tasks.push_back(mixed.tasks[0]);
  mixed.tasks[1].name = kMixTasks[1];
  AddRl("mixed", mixed);
  for (const std::string name : kMixModels)
    for (const std::string task : kMixTasks)
      AddAsk(MixEvalJobName(name, task), name == "sft" ? after_start_ : std::vector<std::string>{name},
             {.model = name == "sft" ? start_ : ModelOf(name),
              .task = task,
              .budgets = {mix.think_budget},
              .problems = mix.problems,
              .problem_seed = recipe_.eval.problem_seed});
}

void Planner::Cost() {
  const Json key = LabCostKey(recipe_.cost, setup_.bench_model, setup_.usd_per_hour, setup_.isa, setup_.threads);
  Add({"cost", {}, key, [cost = recipe_.cost, &setup = setup_](const LabWork& work) {
         return MeasureLabCost(cost, setup.bench_model, setup.usd_per_hour, setup.isa, work);
       }});
  jobs_.back().alone = true;
  jobs_.back().most_threads = 0;
}

// Which of the program's instruction sets run here, and whether they agree on the start model's logits.
void Planner::Kernels() {
  const Json key = {{"model", start_}, {"machine", MachineJson(ReadMachine())["cpu"]}};
  Add({"kernels", after_start_, key, [model = start_](const LabWork&) -> Result<Json> {
         MINKE_ASSIGN(const auto task, FindTask("countdown"));
         Json sets = Json::array();
         std::vector<float> first;
         for (const KernelSet& set : AllKernelSets()) {
           Json entry = {{"name", set.name}, {"runs_here", ChooseKernelSet(set.name).has_value()}};
           if (entry["runs_here"]) {
             MINKE_ASSIGN(const auto probe, LabProbe::Open(model, set.name, 1));
             MINKE_ASSIGN(const auto documents, probe->HeldOut(*task, kHeldOutSeed, 1));
             MINKE_ASSIGN(const std::vector<float> logits, probe->LastLogits(documents[0]));
             if (first.empty()) first = logits;
             double most = 0;
             for (size_t i = 0; i < logits.size(); ++i)
               most = std::max(most, std::abs(static_cast<double>(logits[i]) - static_cast<double>(first[i])));
             entry["max_abs_diff"] = most;
           }
           sets.push_back(std::move(entry));
         }
         return Json{{"sets", sets}};
       }});
}

Result<std::vector<LabJob>> Planner::Plan() {
  const bool rl = setup_.Has("rl") || setup_.Has("budget"), needs_start = rl || setup_.Has("mixed");
  const bool uses_start = needs_start || setup_.Has("lookup");
  trains_ = setup_.Has("parity") || (uses_start && setup_.start.empty());
  if (trains_ || setup_.Has("lookup")) MINKE_TRY(Data());
  if (trains_) Countdown();
  start_ = ModelOf("sparse"), after_start_ = {"sparse"};
  if (uses_start && !setup_.start.empty()) MINKE_TRY(Start());
  if (setup_.Has("lookup")) Lookup();
  if (setup_.Has("parity")) Parity();
  if (rl) Arms();
  if (setup_.Has("mixed")) Mixed();
  if (needs_start) Kernels();
  if (setup_.Has("cost")) Cost();
  return std::move(jobs_);
}

}  // namespace

std::string RlJobName(const LabArm& arm, int64_t seed) { return fmt::format("rl-{}-{}", arm.name, seed); }
std::string EvalJobName(const std::string& arm, int64_t seed) { return fmt::format("eval-{}-{}", arm, seed); }
std::string MixEvalJobName(const std::string& model, const std::string& task) {
  return fmt::format("mix-{}-{}", model, task);
}

Result<std::vector<LabJob>> PlanLab(const LabSetup& setup) { return Planner(setup).Plan(); }

}  // namespace minke
