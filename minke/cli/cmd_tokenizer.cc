// minke tokenizer train: a vocabulary learned from text.
#include <algorithm>
#include <filesystem>

#include "minke/base/file.h"
#include "minke/base/json.h"
#include "minke/cli/command.h"
#include "minke/text/bpe_trainer.h"
#include "minke/text/tokenizer.h"
#include "minke/train/text_files.h"

namespace minke {
namespace {

struct TrainTokenizerFlags {
  std::vector<std::string> files, special;
  int64_t vocab_size = 0;
  int64_t min_frequency = BpeTrainerOptions().min_frequency;
  std::string out;
  bool json = false;
};

Status WriteText(const std::string& path, const std::string& text) {
  return WriteFileAtomic(path, std::as_bytes(std::span(text)));
}

Status TrainTokenizer(const TrainTokenizerFlags& flags, CliContext& context) {
  if (flags.files.empty() || flags.out.empty() || flags.vocab_size == 0)
    return Fail(Code::kInvalidArgument, "tokenizer train: give FILES, --vocab-size N and --out DIR");
  BpeTrainerOptions options = DeepSeekTokens();
  options.vocab_size = flags.vocab_size;
  options.min_frequency = flags.min_frequency;
  options.markers.insert(options.markers.end(), flags.special.begin(), flags.special.end());

  BpeTrainer trainer;
  for (const std::string& file : flags.files)
    MINKE_TRY(ForEachText(file, [&](std::string_view text) { trainer.Add(text); }));
  if (trainer.num_bytes() == 0) return Fail(Code::kInvalidArgument, "{}: no text to learn from", flags.files.front());
  MINKE_ASSIGN(const TrainedBpe trained, trainer.Train(options));

  const std::string text = trained.TokenizerJson(), path = flags.out + "/tokenizer.json";
  MINKE_ASSIGN(const auto tokenizer, Tokenizer::Parse(text, path));  // never a file that minke itself refuses
  std::error_code error;
  std::filesystem::create_directories(flags.out, error);
  if (error) return Fail(Code::kFailed, "{}: cannot create: {}", flags.out, error.message());
  MINKE_TRY(WriteText(path, text));
  MINKE_TRY(WriteText(flags.out + "/tokenizer_config.json", trained.TokenizerConfigJson()));

  const int64_t size = trained.vocab_size();
  if (size < flags.vocab_size)
    context.Warn(fmt::format("the text has pairs for {} tokens only, not {}: --min-frequency 1 or more text gives more",
                             size, flags.vocab_size));
  if (flags.json) {
    OrderedJson report;
    report["vocab_size"] = size;
    report["merges"] = trained.merges.size();
    report["text_bytes"] = trainer.num_bytes();
    report["distinct_pieces"] = trainer.num_pieces();
    report["path"] = path;
    return context.out.WriteLine(DumpJson(report));
  }
  context.Note(fmt::format("{}: {} tokens, {} merges, from {} bytes of text with {} distinct pieces", path, size,
                           trained.merges.size(), trainer.num_bytes(), trainer.num_pieces()));
  return {};
}

}  // namespace

void AddTokenizerCommand(FlagSet program, CliContext& context) {
  auto flags = std::make_shared<TrainTokenizerFlags>();
  FlagSet verb = program.Verbs("tokenizer", "Learn a tokenizer from text");
  FlagSet train =
      AddVerb(verb, context, "train", "Byte-level BPE with DeepSeek-V3's pieces and special tokens, from FILES",
              [flags, &context] { return TrainTokenizer(*flags, context); });
  train.Words("FILES", flags->files,
              "Text files, each one text; from .jsonl files every \"text\" and the contents of \"messages\"");
  train.Number("--vocab-size", flags->vocab_size, 1, int64_t{1} << 20,
               "Tokens in all, special ones and the 256 bytes included");
  train.Text("--out", flags->out, "Folder for tokenizer.json and tokenizer_config.json");
  train.Repeated("--special", flags->special,
                 "A further token that is never split, such as \"｜DSML｜\"; may be given again");
  train.Number("--min-frequency", flags->min_frequency, 1, INT64_MAX,
               "How often a pair has to stand in the text to become a token (default: 2)");
  train.Switch("--json", flags->json, "One JSON object on standard output");
}

}  // namespace minke
