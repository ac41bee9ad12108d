#include "minke/cli/settings.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

namespace minke {
namespace {

// A program with one shared flag and two verbs.
struct Sample {
  CLI::App app{"test", "test"};
  double temp = 1;
  int threads = 0, window = 7;
  bool think = true;
  std::vector<std::string> stop;
  std::string format;

  Sample() {
    app.require_subcommand(1);
    app.add_option("-t,--threads", threads);
    CLI::App* run = app.add_subcommand("run", "")->fallthrough();
    run->add_option("--temp", temp)->check(CLI::Range(0.0, 2.0));
    run->add_flag("--think,!--no-think", think);
    run->add_option("--stop", stop);
    app.add_subcommand("score", "")->add_option("--window", window);
    CLI::App* encode = app.add_subcommand("template", "")->add_subcommand("encode", "");
    encode->add_option("--format", format);
  }
  Status Parse(std::vector<std::string> arguments, const std::map<std::string, std::string>& environment,
               const std::string& config = "") {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    MINKE_ASSIGN(const auto keys, ParseConfigFile(config, "c.toml"));
    return ApplySettings(app, environment, keys, "c.toml");
  }
};

std::string Message(const Status& status) { return status ? "" : status.error().message; }

TEST(Settings, FlagThenVariableThenSectionThenFileThenDefault) {
  const std::string file = "temp = 0.2\nthreads = 3\n[run]\ntemp = 0.3\n";
  {
    Sample s;
    ASSERT_TRUE(s.Parse({"run", "--temp", "0.9"}, {{"MINKE_TEMP", "0.5"}}, file));
    EXPECT_EQ(s.temp, 0.9);
    EXPECT_EQ(s.threads, 3);
  }
  {
    Sample s;
    ASSERT_TRUE(s.Parse({"run"}, {{"MINKE_TEMP", "0.5"}, {"MINKE_THREADS", "2"}}, file));
    EXPECT_EQ(s.temp, 0.5);
    EXPECT_EQ(s.threads, 2);
  }
  {
    Sample s;
    ASSERT_TRUE(s.Parse({"run"}, {}, file));
    EXPECT_EQ(s.temp, 0.3);
  }
  {
    Sample s;
    ASSERT_TRUE(s.Parse({"run"}, {}, "temp = 0.2\n"));
    EXPECT_EQ(s.temp, 0.2);
  }
  {
    Sample s;
    ASSERT_TRUE(s.Parse({"run"}, {}));
    EXPECT_EQ(s.temp, 1);
  }
}

TEST(Settings, SwitchesAndListsComeFromEverywhere) {
  Sample off, negated, list;
  ASSERT_TRUE(off.Parse({"run"}, {{"MINKE_THINK", "false"}}));
  EXPECT_FALSE(off.think);
  ASSERT_TRUE(negated.Parse({"run"}, {}, "no-think = true\n"));
  EXPECT_FALSE(negated.think);
  ASSERT_TRUE(list.Parse({"run"}, {}, "[run]\nstop = [\"a b\", \"c\"]\n"));
  EXPECT_EQ(list.stop, (std::vector<std::string>{"a b", "c"}));
}

TEST(Settings, UnknownKeyNamesTheNearest) {
  Sample s, other_verb, section, in_section;
  EXPECT_EQ(Message(s.Parse({"run"}, {}, "tmep = 1\n")), "c.toml: unknown key tmep: did you mean temp?");
  EXPECT_EQ(Message(other_verb.Parse({"run"}, {}, "window = 3\n")), "");  // a key of another verb is known
  EXPECT_EQ(Message(section.Parse({"run"}, {}, "[rnu]\ntemp = 1\n")),
            "c.toml: unknown section [rnu]: did you mean [run]?");
  EXPECT_EQ(Message(in_section.Parse({"run"}, {}, "[score]\nwindwo = 1\n")),
            "c.toml: unknown key windwo: did you mean window?");
}

TEST(Settings, AValueWithoutAKeyIsNamedByItsLine) {
  Sample only, later, quoted;
  EXPECT_EQ(Message(only.Parse({"run"}, {}, "= = =\n")), "c.toml: line 1: \"= = =\" has no key before the =");
  EXPECT_EQ(Message(later.Parse({"run"}, {}, "temp = 1\n# = x\n[run]\n\n  = 2\n")),
            "c.toml: line 5: \"  = 2\" has no key before the =");
  EXPECT_EQ(Message(quoted.Parse({"run"}, {}, "\"\" = 2\n")), "c.toml: line 1: \"\"\" = 2\" has no key before the =");
}

TEST(Settings, UnknownVariableNamesTheNearest) {
  const auto message = [](const std::map<std::string, std::string>& environment) {
    Sample sample;
    return Message(sample.Parse({"run"}, environment));
  };
  EXPECT_EQ(message({{"MINKE_TMEP", "1"}}), "MINKE_TMEP: unknown variable: did you mean MINKE_TEMP?");
  EXPECT_EQ(message({{"MINKE_temp", "1"}}), "MINKE_temp: unknown variable: did you mean MINKE_TEMP?");
  EXPECT_EQ(message({{"MINKE_ZZZZZZ", "1"}}), "MINKE_ZZZZZZ: unknown variable: no flag has this name: unset it");
  EXPECT_NE(message({{"MINKE_HELP", "1"}}), "");                            // a flag but no setting
  EXPECT_EQ(message({{"MINKE_WINDOW", "3"}, {"MINKE_FORMAT", "v3"}}), "");  // of other verbs
  EXPECT_EQ(message({{"MINKE_TMEP", ""}}), "");                             // as good as unset
}

TEST(Settings, AVerbBelowAVerbHasThemToo) {
  Sample variable, key;
  ASSERT_TRUE(variable.Parse({"template", "encode"}, {{"MINKE_FORMAT", "v3"}}));
  EXPECT_EQ(variable.format, "v3");
  ASSERT_TRUE(key.Parse({"template", "encode"}, {}, "[template]\nformat = \"r1\"\n"));
  EXPECT_EQ(key.format, "r1");
}

TEST(Settings, BadValueNamesItsSource) {
  Sample s, config;
  EXPECT_NE(Message(s.Parse({"run"}, {{"MINKE_TEMP", "warm"}})).find("MINKE_TEMP"), std::string::npos);
  EXPECT_NE(Message(config.Parse({"run"}, {}, "temp = 9\n")).find("c.toml: temp"), std::string::npos);
}

TEST(Settings, Names) { EXPECT_EQ(EnvironmentName("max-queue"), "MINKE_MAX_QUEUE"); }

}  // namespace
}  // namespace minke
