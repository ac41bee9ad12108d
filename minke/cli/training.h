// A training run as a verb starts it: model, tokenizer and template found, the steps left to minke/train.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "minke/base/result.h"
#include "minke/cli/model_path.h"
#include "minke/model/checkpoint_writer.h"
#include "minke/text/chat_template.h"
#include "minke/text/tokenizer.h"
#include "minke/train/rl.h"
#include "minke/train/trainer.h"

namespace minke {

// MODEL and what stands beside its weights.
struct TrainingSubject {
  ModelPath path;
  ModelFiles files;
  std::unique_ptr<Tokenizer> tokenizer;
  TemplateChoice choice;
};
// Errors: those of FindModel and of the files; kDamaged without a config.json that reads.
Result<TrainingSubject> OpenSubject(const std::string& model, const std::function<void(const std::string&)>& warn);

// `threads` where the configuration leaves it open.
Result<TrainResult> RunTraining(const TrainConfig& config, const std::string& isa, int threads,
                                const std::function<void(const std::string&)>& warn, const TrainHooks& hooks);
Result<RlResult> RunReinforcement(const RlConfig& config, const std::string& isa, int threads,
                                  const std::function<void(const std::string&)>& warn, const RlHooks& hooks);

}  // namespace minke
