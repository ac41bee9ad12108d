#include "minke/cli/lab_recipe.h"

#include <algorithm>
#include <cmath>

namespace minke {
namespace {

void Scale(int64_t& value, double factor, int64_t least) {
  value = std::max(least, static_cast<int64_t>(std::llround(static_cast<double>(value) * factor)));
}

void Scale(LabTraining& training, double factor) {
  Scale(training.examples, factor, 200);
  for (int64_t* more : {&training.tool_examples, &training.long_examples})
    if (*more > 0) Scale(*more, factor, 100);
  for (int64_t* steps : {&training.dense_steps, &training.warmup_steps, &training.sparse_steps})
    Scale(*steps, factor, 2);
}

Json TrainingJson(const LabTraining& t) {
  return {{"examples", t.examples},
          {"tool_examples", t.tool_examples},
          {"long_examples", t.long_examples},
          {"dense_steps", t.dense_steps},
          {"warmup_steps", t.warmup_steps},
          {"sparse_steps", t.sparse_steps},
          {"batch_tokens", t.batch_tokens},
          {"sequence_tokens", t.sequence_tokens},
          {"lr", t.lr},
          {"lr_end", t.lr_end},
          {"sparse_lr", t.sparse_lr},
          {"sparse_lr_end", t.sparse_lr_end},
          {"indexer_lr", t.indexer_lr},
          {"mtp_weight", t.mtp_weight},
          {"bias_speed", t.bias_speed},
          {"balance_weight", t.balance_weight}};
}

}  // namespace

LabRecipe FullLabRecipe() {
  LabRecipe recipe;
  recipe.countdown.examples = 60000, recipe.countdown.dense_steps = 1700;  // 7 M tokens
  recipe.countdown.warmup_steps = 120, recipe.countdown.sparse_steps = 370;
  recipe.lookup_training = recipe.countdown;
  recipe.lookup_training.examples = 8000, recipe.lookup_training.sequence_tokens = 1024;
  recipe.lookup_training.lr = 1.5e-3, recipe.lookup_training.dense_steps = 600;
  recipe.lookup.short_steps = 700;
  recipe.countdown.tool_examples = 20000, recipe.countdown.long_examples = 10000;
  recipe.arms = {{"standard", 0.3, 96, 150}, {"mild", 0.1, 192, 150}, {"speciale", 0, 384, 180}};
  return recipe;
}

LabRecipe QuickLabRecipe() {
  LabRecipe recipe;
  recipe.arms = {{"standard", 0.3, 96, 100}, {"speciale", 0, 384, 90}};
  recipe.eval.problems = 200;
  recipe.eval.budgets = {96, 384};
  return recipe;
}

void LabRecipe::ScaleBy(double factor) {
  if (factor == 1) return;
  scale *= factor;
  Scale(countdown, factor), Scale(lookup_training, factor);
  for (LabArm& arm : arms) Scale(arm.steps, factor, 1);
  if (lookup.short_steps > 0) Scale(lookup.short_steps, factor, 1);
  for (int64_t* steps : {&mix.specialist_steps, &mix.mixed_steps, &mix.distill_steps}) Scale(*steps, factor, 1);
  Scale(mix.samples, factor, 32);
  for (int64_t* problems : {&eval.problems, &mix.problems, &lookup.problems, &heldout_documents, &parity_problems})
    Scale(*problems, factor, 8);
  Scale(recall_documents, factor, 2);
  if (factor >= 0.5) return;
  // A test of the way, not of the numbers.
  rl.questions = 4, rl.answers = 4;
  cost.hidden = 256, cost.heads = 8, cost.q_lora_rank = 96, cost.kv_lora_rank = 64, cost.index_heads = 4;
  cost.index_topk = 64, cost.depths = {0, 1024, 4096}, cost.decode_tokens = 4;
}

Json LabRecipe::ToJson() const {
  Json arm_list = Json::array();
  for (const LabArm& arm : arms)
    arm_list.push_back({{"name", arm.name},
                        {"length_penalty", arm.length_penalty},
                        {"think_budget", arm.think_budget},
                        {"steps", arm.steps}});
  return {
      {"scale", scale},
      {"countdown", TrainingJson(countdown)},
      {"lookup_training", TrainingJson(lookup_training)},
      {"parity_problems", parity_problems},
      {"arms", arm_list},
      {"rl", {{"questions", rl.questions}, {"answers", rl.answers}, {"mini_batches", rl.mini_batches}, {"lr", rl.lr}}},
      {"eval", {{"problems", eval.problems}, {"budgets", eval.budgets}, {"problem_seed", eval.problem_seed}}},
      {"lookup",
       {{"times_topk", lookup.times_topk},
        {"short_steps", lookup.short_steps},
        {"keys_trained", lookup.keys_trained},
        {"keys_asked", lookup.keys_asked},
        {"problems", lookup.problems}}},
      {"mix",
       {{"specialist_steps", mix.specialist_steps},
        {"mixed_steps", mix.mixed_steps},
        {"think_budget", mix.think_budget},
        {"samples", mix.samples},
        {"distill_steps", mix.distill_steps},
        {"problems", mix.problems}}}};
}

}  // namespace minke
