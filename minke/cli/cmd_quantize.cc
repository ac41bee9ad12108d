// minke quantize: matrices in 8, 6 or 4 bits.
#include <algorithm>

#include "minke/cli/command.h"
#include "minke/cli/model_path.h"
#include "minke/cli/model_text.h"
#include "minke/cli/terminal.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/checkpoint_writer.h"

namespace minke {
namespace {

struct QuantizeFlags {
  std::string model, out, type = "q8";
  std::vector<std::string> keep;
  int64_t shard_mb = 512;
  bool json = false;
};

std::string ReportText(const Json& record) {
  struct Sum {
    int64_t count = 0, bytes = 0, weights = 0;
    double worst = 0;
    std::string worst_name;
  };
  std::map<std::string, Sum> by_type;
  std::string text = fmt::format("{:<72} {:>4} {:>14} {:>9}\n", "tensor", "type", "shape", "rel. rms");
  for (const Json& shard : record["shards"])
    for (const Json& tensor : shard["tensors"]) {
      const auto name = tensor["name"].get<std::string>(), type = tensor["type"].get<std::string>();
      const auto rows = tensor["shape"][0].get<int64_t>(), cols = tensor["shape"][1].get<int64_t>();
      const double error = tensor["relative_rms"].get<double>();
      text +=
          fmt::format("{:<72} {:>4} {:>14} {:>9.5f}\n", OneLine(name), type, fmt::format("{}x{}", rows, cols), error);
      Sum& sum = by_type[type];
      ++sum.count;
      sum.bytes += tensor["bytes"].get<int64_t>();
      sum.weights += rows * cols;
      if (error >= sum.worst) sum.worst = error, sum.worst_name = name;
    }
  for (const auto& [type, sum] : by_type)
    text += fmt::format("{}: {} matrices, {:.1f} MB, {:.2f} bits a weight; worst {:.5f} ({})\n", type, sum.count,
                        static_cast<double>(sum.bytes) / 1e6,
                        8 * static_cast<double>(sum.bytes) / static_cast<double>(sum.weights), sum.worst,
                        OneLine(sum.worst_name));
  return text;
}

Status Quantize(const QuantizeFlags& flags, CliContext& context) {
  QuantizeOptions options;
  MINKE_ASSIGN(const std::optional<DType> type, ParseQuantizeType(flags.type));
  options.type = *type;
  options.shard_bytes = flags.shard_mb << 20;
  for (const std::string& keep : flags.keep) {
    MINKE_ASSIGN(QuantizeRule rule, ParseQuantizeRule(keep));
    options.rules.push_back(std::move(rule));
  }
  MINKE_ASSIGN(const ModelPath path, FindModel(flags.model));
  MINKE_ASSIGN(const auto model, Model::Open(path.path));
  MINKE_ASSIGN(ModelFiles files, FilesOf(path, [&](const std::string& text) { context.Warn(text); }));
  MINKE_ASSIGN(const KernelSet* kernels, ChooseKernelSet(context.isa));
  MINKE_ASSIGN(const auto pool, ThreadPool::Create(context.ThreadCount()));
  Progress progress("quantizing", "MB", !context.quiet);
  const auto record = QuantizeCheckpoint(*model, std::move(files), flags.out, options, *kernels, *pool,
                                         [&](double done, double total) { progress.Update(done / 1e6, total / 1e6); });
  progress.Clear();
  if (!record) return Fail(record.error());
  if (flags.json) return context.out.WriteLine(DumpJson(*record));
  return context.out.Write(ReportText(*record));
}

}  // namespace

void AddQuantizeCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<QuantizeFlags>();
  FlagSet verb =
      AddVerb(program, context, "quantize", "Write MODEL to the folder OUT with its matrices in 8, 6 or 4 bits",
              [flags, &context] { return Quantize(*flags, context); });
  verb.Required("MODEL", flags->model, kModelHelp);
  verb.Required("OUT", flags->out, "Folder to make; an interrupted run goes on from OUT.partial");
  verb.Choice("--type", flags->type, {"q8", "q6", "q4"},
              "8.5, 6.5 or 4.5 bits a weight (default q8); with q4 the embedding and the head are q6");
  verb.Repeated("--keep", flags->keep,
                "REGEX=TYPE: matrices whose name matches become TYPE (q8, q6, q4, or keep: as stored); the first that "
                "matches wins, and one that matches nothing is an error");
  verb.Number("--shard-mb", flags->shard_mb, 1, int64_t{1} << 20,
              "Size of a shard, which is also what memory holds of the result");
  verb.Switch("--json", flags->json, "The record (OUT/quantize.json) on standard output");
}

}  // namespace minke
