#include "minke/text/utf8_stream.h"

#include "minke/text/utf8.h"

namespace minke {
namespace {
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
}

std::string Utf8Stream::Push(std::string_view bytes) {
  std::string joined;
  if (!pending_.empty()) {
    joined = std::move(pending_);
    pending_.clear();
    joined += bytes;
    bytes = joined;
  }
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Char c = DecodeUtf8(bytes);
    if (c.truncated) {
      pending_ = bytes;
      break;
    }
    text += c.valid ? bytes.substr(0, c.size) : kReplacement;
    bytes.remove_prefix(c.size);
  }
  return text;
}

std::string Utf8Stream::Finish() {
  const bool waiting = !pending_.empty();
  pending_.clear();
  return std::string(waiting ? kReplacement : "");
}

std::string LossyUtf8(std::string_view bytes) {
  Utf8Stream stream;
  std::string text = stream.Push(bytes);
  return text += stream.Finish();
}

}  // namespace minke
