// minke bench: how fast a model reads and writes at each depth, and how near that comes to what the machine can do.
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "minke/base/available_memory.h"
#include "minke/base/file.h"
#include "minke/cli/bench_cost.h"
#include "minke/cli/bench_report.h"
#include "minke/cli/bench_run.h"
#include "minke/cli/command.h"
#include "minke/cli/fit.h"
#include "minke/cli/machine.h"
#include "minke/cli/model_flags.h"
#include "minke/cli/terminal.h"
#include "minke/cli/version.h"
#include "minke/model/facts.h"
#include "minke/tensor/checkpoint.h"

namespace minke {
namespace {

struct BenchFlags {
  ModelFlags model;
  BenchOptions options;
  std::vector<std::string> attentions = {"dsa"};
  std::string fill = "random", chart;
  double usd_per_hour = 0;
  bool json = false;
};

void SortOnce(std::vector<int64_t>& values) {
  std::ranges::sort(values);
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

// Before anything is measured: a chart that cannot be written shows only hours later.
Status CheckFlags(const BenchFlags& flags) {
  const auto wrong = [](std::string_view why) {
    return Fail(Code::kInvalidArgument, "bench: {}: see minke help bench", why);
  };
  MINKE_TRY(flags.model.CheckGiven());
  if (flags.options.prompt_tokens == 0 && flags.options.decode_tokens == 0)
    return wrong("-p 0 and -n 0 leave nothing to measure");
  if (flags.chart.empty()) return {};
  if (flags.usd_per_hour <= 0) return wrong("--chart draws what tokens cost: give --cost USD_PER_HOUR");
  if (!flags.chart.ends_with(".svg") && !flags.chart.ends_with(".html"))
    return wrong(fmt::format("--chart {}: the name must end in .svg or .html", flags.chart));
  std::string folder = std::filesystem::path(flags.chart).parent_path().string();
  if (folder.empty()) folder = ".";
  if (::access(folder.c_str(), W_OK | X_OK) != 0)
    return Fail(Code::kFailed, "--chart {}: {} is no folder to write in", flags.chart, folder);
  return {};
}

BenchOptions MakeOptions(const BenchFlags& flags, const ModelConfig& config, const CliContext& context) {
  BenchOptions options = flags.options;
  if (options.threads.empty()) options.threads = {0};
  std::ranges::replace(options.threads, 0, context.ThreadCount());
  for (std::vector<int64_t>* list : {&options.depths, &options.batches, &options.threads}) SortOnce(*list);
  options.fill_by_prefill = flags.fill == "prefill";
  options.cache = flags.model.cache.formats();
  options.attentions.clear();
  for (const std::string& name : flags.attentions) {
    const bool dsa = name == "dsa" && config.has_indexer();
    if (name == "dsa" && !dsa) context.Note("the model has no indexer: its attention is dense");
    const Attention attention = dsa ? Attention::kDsa : Attention::kDense;
    if (std::ranges::find(options.attentions, attention) == options.attentions.end())
      options.attentions.push_back(attention);
  }
  return options;
}

Json MachineOfBench(const KernelSet& kernels) {
  Json json = MachineJson(ReadMachine());
  json["kernels"] = kernels.name;
  json["minke"] = Version();
  return json;
}

std::string ChartOf(const BenchFlags& flags, const std::string& model, const BenchSubject& subject,
                    const BenchReport& report) {
  const std::string title = fmt::format("{}: cost by token position", model);
  const auto panels = CostPanels(report.rows, flags.usd_per_hour);
  if (flags.chart.ends_with(".svg")) return ChartSvg(title, panels);
  const Machine machine = ReadMachine();
  return ChartHtml(title, panels,
                   fmt::format("Measured by minke {} on {}, at {} USD an hour; weights {}, cache {}.", Version(),
                               machine.cpu.empty() ? "an unknown processor" : machine.cpu, flags.usd_per_hour,
                               subject.weights, subject.cache));
}

Status PrintJson(const BenchFlags& flags, CliContext& context, const std::string& model, const KernelSet& kernels,
                 const BenchSubject& subject, const BenchReport& report) {
  Json peaks = Json::array(), rows = Json::array(), skipped = Json::array();
  for (const Peaks& of_threads : report.peaks) peaks.push_back(PeaksJson(of_threads));
  for (const BenchRow& row : report.rows) rows.push_back(BenchRowJson(row, subject, flags.usd_per_hour));
  for (const BenchSkip& skip : report.skipped) skipped.push_back(BenchSkipJson(skip));
  Json json = {{"version", 1},
               {"model", model},
               {"machine", MachineOfBench(kernels)},
               {"peaks", {{"kernels", kernels.name}, {"by_threads", peaks}}},
               {"fill", flags.fill},
               {"repetitions", flags.options.repetitions},
               {"rows", rows},
               {"skipped", skipped}};
  if (flags.usd_per_hour > 0) json["usd_per_hour"] = flags.usd_per_hour;
  return context.out.WriteLine(DumpJson(json));
}

Status Bench(const BenchFlags& flags, CliContext& context) {
  MINKE_TRY(CheckFlags(flags));
  MINKE_ASSIGN(const KernelSet* kernels, ChooseKernelSet(context.isa));
  MINKE_ASSIGN(const OpenedModel opened, OpenModel(flags.model, context));
  const Model& model = *opened.model;
  if (const int64_t bytes = model.checkpoint().total_bytes(), available = AvailableMemoryBytes();
      bytes > available && !model.streams_experts())
    context.Warn(fmt::format("{}: {} of weights do not fit in {}: the disk is measured, and rooflines mean nothing",
                             opened.path.name, BytesText(bytes), BytesText(available)));
  if (const int64_t cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE), bytes = model.checkpoint().total_bytes(); bytes < cache)
    context.Note(fmt::format("{} fits the processor's cache of {}: shares of a roofline of memory may pass 100 %",
                             opened.path.name, BytesText(cache)));
  const BenchOptions options = MakeOptions(flags, model.config(), context);
  const BenchSubject subject{.weights = WeightFormat(model), .cache = CacheText(options.cache)};

  Progress progress("measuring", "tokens", !context.quiet);
  bool head = false;  // of the table: written before its first line
  BenchWatcher watcher;
  watcher.peaks = [&](const Peaks& peaks) {
    progress.Clear();
    context.Note("peaks: " + PeaksText(peaks));
  };
  watcher.row = [&](const BenchRow& row) -> Status {
    if (flags.json) return {};
    progress.Clear();
    if (!std::exchange(head, true)) MINKE_TRY(context.out.Write(BenchTableHead()));
    MINKE_TRY(context.out.Write(BenchTableLine(row)));
    return context.out.Flush();
  };
  watcher.progress = [&](int64_t done, int64_t all) {
    progress.Update(static_cast<double>(done), static_cast<double>(all));
  };
  MINKE_ASSIGN(const BenchReport report, RunBench(model, *kernels, options, watcher));
  progress.Clear();

  for (const BenchSkip& skip : report.skipped) context.Note("skipped: " + SkipText(skip));
  if (flags.json) {
    MINKE_TRY(PrintJson(flags, context, opened.path.name, *kernels, subject, report));
  } else if (flags.usd_per_hour > 0) {
    MINKE_TRY(context.out.Write("\n" + CostTable(report.rows, flags.usd_per_hour)));
    MINKE_TRY(context.out.Flush());
  }
  if (flags.chart.empty()) return {};
  const std::string chart = ChartOf(flags, opened.path.name, subject, report);
  return WriteFileAtomic(flags.chart, std::as_bytes(std::span<const char>(chart)));
}

}  // namespace

void AddBenchCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<BenchFlags>();
  FlagSet verb = AddVerb(program, context, "bench",
                         "Prefill and decode speed by depth and batch, beside the machine's limits; cost of tokens",
                         [flags, &context] { return Bench(*flags, context); });
  BenchOptions& options = flags->options;
  verb.Text("-m,--model,MODEL", flags->model.model, kModelHelp);
  verb.Numbers("-d,--depth", options.depths, 0, int64_t{1} << 32,
               "Positions in the cache before the measurement (default 0,4k,16k,64k,128k)");
  verb.Number("-p,--prompt-tokens", options.prompt_tokens, 0, int64_t{1} << 32,
              "Prompt tokens of each sequence; 0: no prefill (default 512)");
  verb.Number("-n,--decode-tokens", options.decode_tokens, 0, int64_t{1} << 32,
              "Decoded tokens of each sequence; 0: no decode (default 32)");
  verb.Numbers("--batch", options.batches, 1, 1 << 12, "Sequences at once (default 1,4,16)");
  verb.Numbers("-t,--threads", options.threads, 0, 1024, "Threads (default, and 0: as many as this process may use)");
  verb.Number("-r,--repetitions", options.repetitions, 1, 1 << 20,
              "The median is shown; spread is (fastest - slowest) / median (default 3)");
  verb.Choices("--attention", flags->attentions, {"dsa", "dense"}, "dsa, dense, or both: dsa,dense (default dsa)");
  AddCacheFlags(verb, flags->model.cache);
  AddLoadFlags(verb, flags->model);
  verb.Choice("--fill", flags->fill, {"random", "prefill"},
              "How the cache reaches a depth: random rows (default), or by reading that many tokens");
  verb.Number("--cost", flags->usd_per_hour, 0.0, 1e6,
              "USD an hour that the machine costs: adds the cost of a million tokens");
  verb.Text("--chart", flags->chart, "Draw cost against position into this .svg or .html file; needs --cost");
  verb.Switch("--json", flags->json, "One JSON object");
}

}  // namespace minke
