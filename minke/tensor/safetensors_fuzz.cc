// libFuzzer: any bytes as a safetensors file. What is accepted must keep its promises.
#include <algorithm>
#include <vector>

#include "minke/base/check.h"
#include "minke/tensor/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  const auto tensors = minke::ParseSafetensors(file, "input");
  if (!tensors) {
    MINKE_CHECK(tensors.error().message.starts_with("input: "));
    MINKE_CHECK(tensors.error().message.find('\n') == std::string::npos);
    return 0;
  }
  std::vector<std::span<const std::byte>> pieces;
  for (const auto& [name, tensor] : *tensors) {
    MINKE_CHECK(tensor.num_elements() * minke::ElementBytes(tensor.dtype) == static_cast<int64_t>(tensor.bytes.size()));
    if (tensor.bytes.empty()) continue;
    MINKE_CHECK(tensor.bytes.data() >= file.data() && &tensor.bytes.back() <= &file.back());
    MINKE_CHECK((tensor.bytes.data() - file.data()) % minke::ElementBytes(tensor.dtype) == 0);
    pieces.push_back(tensor.bytes);
  }
  std::sort(pieces.begin(), pieces.end(), [](const auto& a, const auto& b) { return a.data() < b.data(); });
  for (size_t i = 1; i < pieces.size(); ++i)
    MINKE_CHECK(pieces[i - 1].data() + pieces[i - 1].size() == pieces[i].data());
  return 0;
}
