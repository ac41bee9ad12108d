// Tokenizer speed on one thread: minke_tokenizer FOLDER [FILE...]
// For each file: megabytes per second of Encode and Decode over the whole text, best and median of the repetitions.
// Then one megabyte of one thing, which makes one piece of a million bytes. bench/tokenizer_speed.py runs this beside
// the `tokenizers` package.
#include "minke/text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "minke/base/file.h"

namespace minke {
namespace {

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Sorted, so the first is the best.
std::vector<double> Repeat(int times, const std::function<void()>& work) {
  std::vector<double> seconds;
  for (int i = 0; i < times; ++i) seconds.push_back(Seconds(work));
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

Status Measure(const Tokenizer& tokenizer, const std::string& path) {
  MINKE_ASSIGN(const std::string text, ReadFile(path, int64_t{1} << 30));
  const double megabytes = static_cast<double>(text.size()) / 1e6;
  std::vector<TokenId> ids;
  const auto encode = Repeat(7, [&] { ids = tokenizer.Encode(text); });
  std::string back;
  const auto decode = Repeat(7, [&] { back = tokenizer.Decode(ids); });
  fmt::print("{} bytes {} tokens {} encode_best {:.2f} encode_median {:.2f} decode_best {:.2f} MB/s\n", path,
             text.size(), ids.size(), megabytes / encode[0], megabytes / encode[3], megabytes / decode[0]);
  return back == text ? Status() : Fail(Code::kFailed, "{}: decoding does not give the text back", path);
}

Status Run(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return Fail(Code::kInvalidArgument, "minke_tokenizer FOLDER [FILE...]");
  const double open = Seconds([&] { (void)Tokenizer::Open(arguments[0]); });
  MINKE_ASSIGN(const auto tokenizer, Tokenizer::Open(arguments[0]));
  fmt::print("open {:.3f} s\n", open);
  for (size_t i = 1; i < arguments.size(); ++i) MINKE_TRY(Measure(*tokenizer, arguments[i]));
  for (const std::string_view unit : {"a", " ", "7", "😀", "\n", "中", "ab ", "<｜"}) {
    std::string text;
    while (text.size() < 1000000) text += unit;
    const auto seconds = Repeat(3, [&] { (void)tokenizer->Encode(text); });
    fmt::print("1 MB of \"{}\": {:.3f} s\n", unit == "\n" ? "\\n" : unit, seconds[1]);
  }
  return {};
}

}  // namespace
}  // namespace minke

int main(int argc, char** argv) {
  const minke::Status status = minke::Run({argv + 1, argv + argc});
  if (!status) fmt::print(stderr, "{}\n", status.error().message);
  return status ? 0 : minke::ExitCode(status.error().code);
}
