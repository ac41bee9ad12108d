// Every task: its problems, its split, and a right and a wrong answer.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "minke/train/countdown.h"
#include "minke/train/make_data.h"
#include "minke/train/task.h"

namespace minke {
namespace {

std::unique_ptr<const Task> Find(std::string_view name) {
  auto task = FindTask(name);
  EXPECT_TRUE(task.has_value()) << (task ? "" : task.error().message);
  return task ? std::move(*task) : nullptr;
}

const char* const kNames[] = {"countdown",           "countdown4",   "countdown-tool", "countdown-call",
                              "countdown-call:bare", "lookup:256:1", "lookup:1024:4",  "sort:8"};

TEST(Tasks, EveryKindIsTried) {
  for (const TaskKind* kind : AllTasks()) {
    const bool tried = std::ranges::any_of(
        kNames, [&](std::string_view name) { return name.substr(0, name.find(':')) == kind->name; });
    EXPECT_TRUE(tried) << kind->name << ": add it to kNames, and a right and a wrong answer below";
    EXPECT_TRUE(Find(kind->name));
  }
}

TEST(Tasks, ProblemsAreFunctionsOfSeedAndIndexAndSplitsDoNotMeet) {
  for (const char* name : kNames) {
    const auto task = Find(name);
    EXPECT_EQ(task->name(), name);
    std::set<std::string> train, held_out, prompts;
    for (uint64_t i = 0; i < 100; ++i) {
      const Problem problem = task->Make(5, i, Split::kTrain);
      EXPECT_EQ(problem.prompt, task->Make(5, i, Split::kTrain).prompt);
      train.insert(problem.id);
      prompts.insert(problem.prompt);
      held_out.insert(task->Make(5, i, Split::kHeldOut).id);
    }
    EXPECT_GT(prompts.size(), 90u) << name;
    EXPECT_NE(task->Make(5, 0, Split::kTrain).prompt, task->Make(6, 0, Split::kTrain).prompt);
    for (const std::string& id : held_out) EXPECT_FALSE(train.contains(id)) << name << " " << id;
  }
}

TEST(Tasks, OneProblemInSixteenIsHeldOut) {
  int held_out = 0;
  for (int i = 0; i < 16000; ++i) held_out += IsHeldOut(fmt::format("{} 4 7={}", i % 12, i));
  EXPECT_NEAR(held_out, 1000, 100);
}

TEST(Tasks, WhatADemonstrationSaysIsWhatTheVerifierSays) {
  for (const char* name : kNames) {
    const auto task = Find(name);
    int right = 0;
    for (uint64_t i = 0; i < 50; ++i) {
      const Problem problem = task->Make(1, i, Split::kTrain);
      const Trace trace = task->Demonstrate(problem, i, i % 2 ? Searcher::kRandom : Searcher::kGuided);
      EXPECT_EQ(trace.content, task->Demonstrate(problem, i, i % 2 ? Searcher::kRandom : Searcher::kGuided).content);
      const Verdict v = task->Judge(problem, trace.reasoning, trace.content);
      EXPECT_TRUE(v.formatted) << name << ": " << trace.reasoning << " | " << trace.content;
      EXPECT_EQ(v.right, trace.content != kGiveUp) << name;
      right += v.right;
      EXPECT_FALSE(task->Judge(problem, trace.reasoning, trace.content + " ").right) << name;
      EXPECT_FALSE(task->Judge(problem, trace.reasoning, "").right) << name;
      EXPECT_FALSE(task->Judge(problem, trace.content, trace.reasoning).right) << name;
    }
    EXPECT_GT(right, 5) << name;
  }
}

TEST(Tasks, ProblemsComeBackFromTheirLines) {
  for (const char* name : kNames) {
    const auto task = Find(name);
    const Problem problem = task->Make(2, 3, Split::kHeldOut);
    const auto read = task->Read(Json::parse(DumpJson(ProblemLine(problem))));
    ASSERT_TRUE(read.has_value()) << name << ": " << read.error().message;
    EXPECT_EQ(read->prompt, problem.prompt);
    EXPECT_EQ(read->id, problem.id);
    EXPECT_EQ(read->facts, problem.facts);
    EXPECT_EQ(read->tools.size(), problem.tools.size());
    for (const char* bad :
         {"1", "[]", "{}", R"({"prompt": 1})", R"({"prompt": "", "numbers": [1, 2, "x"], "target": 3})",
          R"({"prompt": "", "numbers": [1, 2, 3], "target": 1e300})", R"({"prompt": "", "keys": [1]})"})
      EXPECT_FALSE(task->Read(Json::parse(bad)).has_value()) << name << " " << bad;
  }
}

TEST(Tasks, UnknownNamesAndParametersAreRefusedInOneLine) {
  const auto message = [](std::string_view name) {
    const auto task = FindTask(name);
    EXPECT_FALSE(task.has_value()) << name;
    return task ? "" : task.error().message;
  };
  EXPECT_NE(message("cuntdown").find("did you mean countdown"), std::string::npos);
  EXPECT_NE(message("").find("there are countdown, countdown4"), std::string::npos);
  EXPECT_NE(message("lookup:9000").find("lookup[:LENGTH[:KEYS]]"), std::string::npos);
  for (const char* bad : {"lookup:", "lookup:256:0", "lookup:256:1:2", "sort:1", "countdown:3", "countdown-call:x"})
    message(bad);
}

TEST(Tasks, ACalculatorsResultsCarryNoLoss) {
  const auto task = Find("countdown-tool");
  bool seen_mark = false;
  for (uint64_t i = 0; i < 100; ++i) {
    const Problem problem = task->Make(1, i, Split::kTrain);
    const Trace trace = task->Demonstrate(problem, i, Searcher::kRandom);
    const auto environment = task->MakeEnvironment(true);
    std::string text;
    for (const TracePart& part : trace.parts) {  // the environment says what the parts without loss say
      const std::string appended = environment->OnText(text);
      EXPECT_EQ(appended, part.loss ? "" : part.text);
      text += part.text;
      seen_mark |= !part.loss && part.text == "#";
    }
    EXPECT_EQ(text, trace.reasoning + "</think>" + trace.content + "<｜end▁of▁sentence｜>");
  }
  EXPECT_TRUE(seen_mark);
}

TEST(Tasks, CallsAreAnsweredAsTheDemonstrationHasThem) {
  const auto task = Find("countdown-call");
  const Problem problem = task->Make(1, 0, Split::kTrain);
  const Trace trace = task->Demonstrate(problem, 4, Searcher::kGuided);
  const auto verdict = JudgeMessages(*task, problem, trace.messages);
  ASSERT_TRUE(verdict.has_value());
  EXPECT_EQ(verdict->right, trace.content != kGiveUp);
  EXPECT_EQ(static_cast<size_t>(verdict->attempts), trace.messages.size() / 2);
  const auto unfinished = JudgeMessages(*task, problem, std::span(trace.messages).first(1));
  ASSERT_TRUE(unfinished.has_value());
  EXPECT_FALSE(unfinished->right);
  EXPECT_EQ(unfinished->attempts, 1);

  // The same text as a model would write it, turn by turn.
  const auto environment = task->MakeEnvironment(/*thinking=*/true);
  std::string text;
  const std::string all = trace.reasoning + "</think>" + trace.content;
  const std::string end = "<｜end▁of▁sentence｜>";
  for (size_t pos = 0;;) {
    const size_t turn = all.find(end, pos);
    text += all.substr(pos, turn - pos);
    const std::string appended = environment->OnEnd(text);
    if (turn == std::string::npos) {
      EXPECT_EQ(appended, "");
      break;
    }
    pos = turn + end.size();
    ASSERT_FALSE(appended.empty());
    EXPECT_EQ(all.substr(pos, appended.size()), appended);
    text += appended;
    pos += appended.size();
  }
}

TEST(Tasks, ADocumentHasItsLength) {
  for (const int length : {16, 64, 256, 1024, 8192}) {
    const Problem problem = Find(fmt::format("lookup:{}:2", length))->Make(1, 1, Split::kTrain);
    const size_t end = problem.prompt.find('?');
    int tokens = 0;  // two digits are one, as each sign is
    for (const char c : problem.prompt.substr(0, end)) tokens += c >= '0' && c <= '9' ? 1 : 2;
    EXPECT_NEAR(tokens / 2, length, 1);
  }
}

TEST(Tasks, ALineOfDataIsARequestsMessages) {
  const auto line = [](const char* name) {
    return Json::parse(DemonstrationLine(*Find(name), 1, 0, Split::kTrain, Searcher::kGuided));
  };
  EXPECT_EQ(line("countdown")["messages"][1]["role"], "assistant");
  EXPECT_TRUE(line("countdown")["messages"][1].contains("reasoning_content"));
  EXPECT_EQ(line("countdown-tool")["messages"].size(), 1u);
  EXPECT_EQ(line("countdown-tool")["parts"][1]["loss"], false);
  EXPECT_EQ(line("countdown-call")["messages"][0]["tools"].size(), 1u);
  EXPECT_EQ(line("countdown-call")["messages"][3]["role"], "tool");
}

}  // namespace
}  // namespace minke
