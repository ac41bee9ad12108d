// libFuzzer: any bytes as a GGUF file. What is accepted must keep its promises.
#include <algorithm>
#include <vector>

#include "minke/base/check.h"
#include "minke/tensor/block.h"
#include "minke/tensor/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  const auto gguf = minke::ParseGguf(file, "input");
  if (!gguf) {
    MINKE_CHECK(gguf.error().message.starts_with("input: "));
    MINKE_CHECK(gguf.error().message.find('\n') == std::string::npos);
    return 0;
  }
  const char* begin = reinterpret_cast<const char*>(data);
  for (const auto& [key, value] : gguf->metadata.values) {
    gguf->metadata.Int(key);
    gguf->metadata.Number(key);
    gguf->metadata.String(key);
    if (const auto strings = gguf->metadata.Strings(key)) {
      MINKE_CHECK(static_cast<int64_t>(strings->size()) == value.count);
      for (const std::string_view text : *strings)
        MINKE_CHECK(text.empty() || (text.data() >= begin && text.data() + text.size() <= begin + size));
    }
    if (const auto ints = gguf->metadata.Ints(key)) MINKE_CHECK(static_cast<int64_t>(ints->size()) == value.count);
  }
  std::vector<std::span<const std::byte>> pieces;
  for (const auto& [name, tensor] : gguf->tensors) {
    const int64_t cols = tensor.shape.back();
    MINKE_CHECK(tensor.num_elements() / cols * minke::RowBytes(tensor.dtype, cols) ==
                static_cast<int64_t>(tensor.bytes.size()));
    MINKE_CHECK(tensor.bytes.data() >= file.data() && &tensor.bytes.back() <= &file.back());
    pieces.push_back(tensor.bytes);
  }
  std::sort(pieces.begin(), pieces.end(), [](const auto& a, const auto& b) { return a.data() < b.data(); });
  for (size_t i = 1; i < pieces.size(); ++i)
    MINKE_CHECK(pieces[i - 1].data() + pieces[i - 1].size() <= pieces[i].data());
  return 0;
}
