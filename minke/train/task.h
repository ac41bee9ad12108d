// What a model is trained and measured on: problems with a verifier and a searcher that shows how (docs/training.md).
// A task is one file; skeleton_task.cc says how to add one. Tasks are immutable; any thread may use them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/text/chat.h"
#include "minke/train/draws.h"

namespace minke {

enum class Split { kTrain, kHeldOut };
// Who writes demonstrations. Random leaves RL something to find; guided is as good as the task's author could make it.
enum class Searcher { kRandom, kGuided };

struct Problem {
  std::string prompt = {};             // the user's text
  std::string system = {};             // "": none
  std::vector<PromptJson> tools = {};  // that the prompt offers
  std::string id = {};                 // canonical: equal for problems that differ in words only; decides the split
  Json facts = Json::object();         // what the verifier needs
};

struct Verdict {
  bool right = false;      // the answer is, whatever the way there
  bool formatted = false;  // reasoning and answer are written as the task wants them, to the last byte
  bool gave_up = false;
  int attempts = 0, distinct_attempts = 0;  // in the reasoning; distinct by their text
  int steps = 0, correct_steps = 0;         // of the attempts: calculations, or what else the task counts
  int hit_attempt = -1;                     // index of the first that solves the problem; -1: none
};

// A piece of raw text after the prompt. `loss` false: an environment wrote it.
struct TracePart {
  std::string text;
  bool loss = true;
};

struct Trace {
  std::string reasoning = {}, content = {};  // as Judge takes them
  // For tasks with an environment, one of: all text after the prompt, thinking, end marker included, to be tokenized
  // part by part as a rollout is; or the messages after the prompt, those of tools carrying no loss.
  std::vector<TracePart> parts = {};
  std::vector<Message> messages = {};
};

// What answers the model while it writes. One per rollout; called from one thread at a time; must not throw or block.
class Environment {
 public:
  virtual ~Environment() = default;
  // `text`: all after the prompt so far, what was appended included; called after each token. What to append now; "":
  // nothing.
  virtual std::string OnText(std::string_view /*text*/) { return {}; }
  // The model has written its end token. "": it ends; else what follows that token (markers count).
  virtual std::string OnEnd(std::string_view /*text*/) { return {}; }
};

class Task {
 public:
  virtual ~Task() = default;
  virtual std::string name() const = 0;  // as FindTask takes it
  // A pure function of its arguments. One in 16 problems, by a hash of their id, is held out and never for training.
  Problem Make(uint64_t seed, uint64_t index, Split split) const;
  // A problem as a line of a file has it: "prompt", "system" and the facts. Errors: kDamaged without a place.
  virtual Result<Problem> Read(const Json& line) const = 0;
  // Total: any bytes get a verdict. `content`: the answer; `reasoning`: all before its </think>, calls and results too.
  virtual Verdict Judge(const Problem& problem, std::string_view reasoning, std::string_view content) const = 0;
  // Pure as well. It need not be right: a searcher may give up.
  virtual Trace Demonstrate(const Problem& problem, uint64_t seed, Searcher searcher) const = 0;
  virtual std::unique_ptr<Environment> MakeEnvironment(bool /*thinking*/) const { return nullptr; }
  // Left for an answer, or a call, after the thinking when a budget limits that.
  virtual int64_t answer_tokens() const { return 24; }
  virtual bool has_calls() const { return false; }  // only V3.2's format has their markup here

 protected:
  virtual Problem Draw(Draws& draws) const = 0;
};

bool IsHeldOut(std::string_view problem_id);
std::vector<Message> PromptMessages(const Problem& problem);
// Raw text after the prompt as Judge takes it. The last turn begins at `last_turn` (0 without tool calls); where it
// thinks, its first </think> ends the reasoning, and without one all is reasoning. What is before the turn counts as
// reasoning.
struct AnswerText {
  std::string_view reasoning, content;
};
AnswerText SplitAnswer(std::string_view text, size_t last_turn, bool thinking);
// The messages after the prompt, judged. Errors: those of EncodeChat.
Result<Verdict> JudgeMessages(const Task& task, const Problem& problem, std::span<const Message> messages);
// The same messages as one text in V3.2's thinking mode, up to where the last one's content ends.
Result<std::string> TextOfMessages(const Problem& problem, std::span<const Message> messages);

struct TaskKind {
  const char* name;
  const char* parameters;  // "" or how they are written, as in "[:LENGTH[:KEYS]]"
  const char* summary;
  Result<std::unique_ptr<const Task>> (*make)(std::span<const std::string> parameters);
};
std::span<const TaskKind* const> AllTasks();
// "countdown", "lookup:1024:4". Errors: kInvalidArgument with the nearest name and all names, or what is wrong with a
// parameter.
Result<std::unique_ptr<const Task>> FindTask(std::string_view name);

// For makers: parameter `index` as a number in [least, most], or `otherwise` where it is not given. Errors:
// kInvalidArgument.
Result<int> NumberParameter(std::span<const std::string> parameters, size_t index, const char* what, int least,
                            int most, int otherwise);
Status AtMostParameters(std::span<const std::string> parameters, size_t most);
// For readers: whether `line` is an object with these texts.
bool HasTexts(const Json& line, std::initializer_list<const char*> keys);

}  // namespace minke
