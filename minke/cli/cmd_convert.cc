// minke convert: a model in another file format, number format or set of shards.
#include "minke/base/file.h"
#include "minke/cli/command.h"
#include "minke/cli/model_path.h"
#include "minke/cli/model_text.h"
#include "minke/cli/terminal.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/checkpoint_writer.h"
#include "minke/model/gguf_export.h"

namespace minke {
namespace {

struct ConvertFlags {
  std::string model, out, to = "safetensors", dtype = "keep";
  std::optional<int64_t> shard_mb;
};

std::optional<DType> DTypeOf(const std::string& name) {
  if (name == "f32") return DType::kF32;
  if (name == "f16") return DType::kF16;
  if (name == "bf16") return DType::kBF16;
  if (name == "q8_0") return DType::kQ8_0;
  return std::nullopt;
}

Status ToGguf(const Model& model, const ModelPath& path, const ConvertFlags& flags, const KernelSet& kernels,
              ThreadPool& pool, const ProgressFn& progress, CliContext& context) {
  GgufWriter writer;
  writer.String("general.name", path.name);
  if (const auto added = AddTokenizer(path, model.config().vocab_size, writer); !added) {
    if (added.error().code != Code::kNotFound && added.error().code != Code::kUnsupported) return Fail(added.error());
    context.Warn(fmt::format("the file gets no tokenizer: {}", added.error().message));
    writer.String("tokenizer.ggml.model", "none");
  }
  MINKE_ASSIGN(const auto left_out,
               ExportGguf(model, std::move(writer), flags.out, DTypeOf(flags.dtype), kernels, pool, progress));
  for (const std::string& what : left_out) context.Warn(fmt::format("{}: {}", flags.out, what));
  return {};
}

Status CheckFlags(const ConvertFlags& flags) {
  const bool gguf = flags.to == "gguf";
  if (flags.dtype == "q8_0" && !gguf)
    return Fail(Code::kInvalidArgument, "--dtype q8_0: {}", "is for --to gguf; minke quantize has formats of its own");
  if (!gguf && IsGgufPath(flags.out))
    return Fail(Code::kInvalidArgument, "{}: a folder of safetensors is made; a GGUF file needs --to gguf", flags.out);
  if (gguf && !IsGgufPath(flags.out))
    return Fail(Code::kInvalidArgument, "{}: a GGUF file's name ends with .gguf; choose such a name", flags.out);
  if (gguf && flags.shard_mb)
    return Fail(Code::kInvalidArgument, "--shard-mb: {}", "a GGUF file is written whole; leave the flag out");
  return {};
}

Status Convert(const ConvertFlags& flags, CliContext& context) {
  const bool gguf = flags.to == "gguf";
  MINKE_TRY(CheckFlags(flags));
  MINKE_ASSIGN(const ModelPath path, FindModel(flags.model));
  if (gguf && IsGgufPath(path.path))
    return Fail(Code::kInvalidArgument, "{}: is a GGUF file already; --to safetensors decodes it", path.path);
  MINKE_ASSIGN(const auto model, Model::Open(path.path));
  MINKE_ASSIGN(const KernelSet* kernels, ChooseKernelSet(context.isa));
  MINKE_ASSIGN(const auto pool, ThreadPool::Create(context.ThreadCount()));
  Progress progress("converting", "MB", !context.quiet);
  const auto show = [&](double done, double total) { progress.Update(done / 1e6, total / 1e6); };
  Status status;
  if (gguf) {
    status = ToGguf(*model, path, flags, *kernels, *pool, show, context);
  } else {
    MINKE_ASSIGN(ModelFiles files, FilesOf(path, [&](const std::string& text) { context.Warn(text); }));
    const auto record =
        ConvertCheckpoint(*model, std::move(files), flags.out,
                          {DTypeOf(flags.dtype), flags.shard_mb.value_or(512) << 20}, *kernels, *pool, show);
    if (!record) status = Fail(record.error());
  }
  progress.Clear();
  return status;
}

}  // namespace

void AddConvertCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<ConvertFlags>();
  FlagSet verb = AddVerb(program, context, "convert",
                         "Write MODEL as OUT: safetensors in other shards, safetensors from GGUF, or a GGUF file",
                         [flags, &context] { return Convert(*flags, context); });
  verb.Required("MODEL", flags->model, kModelHelp);
  verb.Required("OUT", flags->out,
                "Folder to make (an interrupted run goes on from OUT.partial), or a file whose name ends with .gguf");
  verb.Choice("--to", flags->to, {"safetensors", "gguf"}, "Format of OUT");
  verb.Choice("--dtype", flags->dtype, {"keep", "f32", "bf16", "f16", "q8_0"},
              "Matrices, but for the router; keep: as stored, and BF16 for what the format lacks");
  verb.Number("--shard-mb", flags->shard_mb, 1, int64_t{1} << 24,
              "Size of a shard of safetensors, of which memory holds what is decoded (512); more than the model: one");
}

}  // namespace minke
