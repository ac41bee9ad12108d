#include "minke/cli/training.h"

#include "minke/base/file.h"
#include "minke/cli/model_text.h"
#include "minke/kernels/kernel_set.h"

namespace minke {
namespace {

Result<std::unique_ptr<Parameters>> StartWeights(const TrainConfig& config, const ModelPath& path,
                                                 const KernelSet& kernels) {
  if (config.model.empty()) {
    const std::string file = path.folder + "/config.json";
    MINKE_ASSIGN(const std::string text, ReadFile(file, kMaxConfigBytes));
    MINKE_ASSIGN(const ModelConfig model, ParseModelConfig(text, file));
    return Parameters::Random(model, config.seed, config.init_sigma);
  }
  MINKE_ASSIGN(const auto model, Model::Open(path.path));
  return Parameters::Copy(*model, kernels, Parameters::MtpCopies::kShared);
}

}  // namespace

Result<TrainingSubject> OpenSubject(const std::string& model, const std::function<void(const std::string&)>& warn) {
  TrainingSubject subject;
  MINKE_ASSIGN(subject.path, FindModel(model));
  MINKE_ASSIGN(subject.files, FilesOf(subject.path, warn));
  MINKE_ASSIGN(subject.tokenizer, OpenTokenizer(subject.path));
  const std::string where = subject.path.folder + "/config.json";
  MINKE_ASSIGN(const ModelConfig config, ParseModelConfig(DumpJson(subject.files.config), where));
  MINKE_ASSIGN(subject.choice, ChooseTemplate(subject.path, config.model_type));
  return subject;
}

Result<TrainResult> RunTraining(const TrainConfig& config, const std::string& isa, int threads,
                                const std::function<void(const std::string&)>& warn, const TrainHooks& hooks) {
  MINKE_ASSIGN(const KernelSet* kernels, ChooseKernelSet(isa));
  MINKE_ASSIGN(const TrainingSubject subject, OpenSubject(config.model.empty() ? config.init : config.model, warn));
  MINKE_ASSIGN(const auto pool, ThreadPool::Create(config.threads > 0 ? static_cast<int>(config.threads) : threads));
  MINKE_ASSIGN(const auto parameters, StartWeights(config, subject.path, *kernels));
  const ModelConfig& model = parameters->model()->config();
  if (subject.tokenizer->vocab_size() > model.vocab_size)
    return Fail(Code::kInvalidArgument, "{}: the tokenizer has {} tokens, the model {}: they do not belong together",
                subject.path.folder, subject.tokenizer->vocab_size(), model.vocab_size);
  MINKE_ASSIGN(const DocumentEncoder encoder, DocumentEncoder::Create(*subject.tokenizer, subject.choice, {}));
  TrainHooks all = hooks;
  all.on_warning = warn;
  return Train(config, *parameters, subject.files, encoder, *kernels, *pool, all);
}

Result<RlResult> RunReinforcement(const RlConfig& config, const std::string& isa, int threads,
                                  const std::function<void(const std::string&)>& warn, const RlHooks& hooks) {
  MINKE_ASSIGN(const KernelSet* kernels, ChooseKernelSet(isa));
  MINKE_ASSIGN(const TrainingSubject subject, OpenSubject(config.model, warn));
  MINKE_ASSIGN(const auto pool, ThreadPool::Create(config.threads > 0 ? static_cast<int>(config.threads) : threads));
  MINKE_ASSIGN(const auto model, Model::Open(subject.path.path));
  MINKE_ASSIGN(const auto parameters, Parameters::Copy(*model, *kernels, Parameters::MtpCopies::kShared));
  RlHooks all = hooks;
  all.on_warning = warn;
  return TrainByReward(config, *parameters, subject.files, *subject.tokenizer, subject.choice, *kernels, *pool, all);
}

}  // namespace minke
