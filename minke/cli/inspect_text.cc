#include <algorithm>

#include "minke/cli/fit.h"
#include "minke/cli/inspect_report.h"

namespace minke {
namespace {

std::string Line(std::string_view key, std::string_view value) { return fmt::format("{:<14}{}\n", key, value); }

int64_t Int(const Json& json, const char* key) { return json.at(key).get<int64_t>(); }
std::string Text(const Json& json, const char* key) { return json.at(key).get<std::string>(); }

std::string ArchitectureText(const Json& a) {
  std::string text =
      Line("architecture", fmt::format("{}: {} layers ({} dense, {} MoE){}, hidden {}, vocabulary {}",
                                       Text(a, "model_type"), Int(a, "layers"), Int(a, "dense_layers"),
                                       Int(a, "moe_layers"), Int(a, "mtp_layers") > 0 ? " and 1 MTP layer" : "",
                                       Int(a, "hidden_size"), Int(a, "vocab_size")));
  const int64_t q_rank = Int(a, "q_lora_rank");
  text += Line("attention", fmt::format("{} heads of {} + {} and {}, query rank {}, latent {}", Int(a, "heads"),
                                        Int(a, "qk_nope_head_dim"), Int(a, "qk_rope_head_dim"), Int(a, "v_head_dim"),
                                        q_rank > 0 ? std::to_string(q_rank) : "none", Int(a, "kv_lora_rank")));
  if (const Json& i = a.at("indexer"); i.is_null()) {
    text += Line("selection", "none: every query sees its whole context");
  } else {
    text += Line("selection",
                 fmt::format("{} of the context, by {} index heads of {} in {} layers, {} rotation", Int(i, "topk"),
                             Int(i, "heads"), Int(i, "head_dim"), Int(i, "layers"), Text(i, "rope")));
  }
  if (const Json& e = a.at("experts"); !e.is_null())
    text += Line("experts",
                 fmt::format("{} of {} and {} shared, width {}, {} of {} groups, {}, scaling {}", Int(e, "per_token"),
                             Int(e, "routed"), Int(e, "shared"), Int(e, "width"), Int(e, "groups_kept"),
                             Int(e, "groups"), Text(e, "method"), e.at("scaling").get<float>()));
  const Json& yarn = a.at("yarn_factor");
  text += Line("positions",
               fmt::format("{}, theta {}{}", Int(a, "max_position_embeddings"), a.at("rope_theta").get<double>(),
                           yarn.is_null() ? "" : fmt::format(", YaRN factor {}", yarn.get<double>())));
  return text;
}

std::string TensorsText(const Json& t) {
  std::string text = Line("tensors", fmt::format("{} in {} file{}, {}", Int(t, "count"), Int(t, "files"),
                                                 Int(t, "files") == 1 ? "" : "s", BytesText(Int(t, "bytes"))));
  for (const Json& d : t.at("by_dtype"))
    text += Line("", fmt::format("{:<8} {:>7} tensors {:>10} numbers {:>10}", Text(d, "dtype"), Int(d, "tensors"),
                                 CountText(Int(d, "elements")), BytesText(Int(d, "bytes"))));
  if (!t.contains("list")) return text;
  for (const Json& item : t.at("list"))
    text += fmt::format("  {} {} {}\n", Text(item, "name"), Text(item, "dtype"), DumpJson(item.at("shape")));
  return text;
}

std::string Strings(const char* key, const Json& list, size_t most) {
  std::string text;
  for (size_t i = 0; i < std::min(list.size(), most); ++i) text += Line(i == 0 ? key : "", list[i].get<std::string>());
  if (list.size() > most) text += Line("", fmt::format("and {} more (--json lists all)", list.size() - most));
  return text;
}

std::string VerifyText(const Json& v) {
  const double seconds = std::max(v.at("seconds").get<double>(), 1e-9), bytes = v.at("bytes").get<double>();
  const Json& bad = v.at("bad");
  std::string text =
      Line("verify", fmt::format("{} read in {:.2f} s ({}/s): {}", BytesText(Int(v, "bytes")), seconds,
                                 BytesText(static_cast<int64_t>(bytes / seconds)),
                                 bad.empty() ? "no bad value"
                                             : fmt::format("{} bad tensor{}", bad.size(), bad.size() == 1 ? "" : "s")));
  constexpr size_t kMost = 20;
  for (size_t i = 0; i < std::min(bad.size(), kMost); ++i) {
    const Json& b = bad[i];
    text += b.at("tensor").is_null() ? Line("", Text(b, "value"))
                                     : Line("", fmt::format("{}: {} values, first {} at {}", Text(b, "tensor"),
                                                            Int(b, "count"), Text(b, "value"), Text(b, "place")));
  }
  if (bad.size() > kMost) text += Line("", fmt::format("and {} more (--json lists all)", bad.size() - kMost));
  return text;
}

}  // namespace

std::string ReportText(const Json& report) {
  std::string text = Line("model", fmt::format("{} ({})", Text(report, "model"), Text(report, "path")));
  const Json& architecture = report.at("architecture");
  if (!architecture.is_null()) text += ArchitectureText(architecture);
  if (const Json& tensors = report.at("tensors"); !tensors.is_null()) {
    std::string parameters = CountText(Int(tensors, "parameters"));
    if (!architecture.is_null())
      parameters += fmt::format(", {} used per token", CountText(Int(architecture, "parameters_per_token")));
    text += Line("parameters", parameters) + TensorsText(tensors);
  }
  if (const Json& cache = report.at("cache"); !cache.is_null())
    text += Line("cache", fmt::format("{} per token", BytesText(Int(cache, "bytes_per_token"))));
  if (const Json& tokenizer = report.at("tokenizer"); !tokenizer.is_null())
    text += Line("tokenizer", fmt::format("{} tokens", Int(tokenizer, "tokens")));
  if (const Json& format = report.at("prompt_format"); !format.is_null())
    text += Line("prompt format", fmt::format("{}: {}", Text(format, "name"), Text(format, "note")));
  text += Strings("unused", report.at("unused"), 5);
  text += Strings("unsupported", report.at("unsupported"), 100);
  text += Strings("problem", report.at("problems"), 100);
  if (report.contains("verify")) text += VerifyText(report.at("verify"));
  return text;
}

}  // namespace minke
