// minke convert --to gguf: a model as one GGUF file for llama.cpp. It is written as it is computed, one matrix in
// memory at a time, and gets its name at the end.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "minke/kernels/kernel_set.h"
#include "minke/model/checkpoint_writer.h"
#include "minke/model/model.h"
#include "minke/tensor/gguf_writer.h"

namespace minke {

// Architecture and everything of the configuration. Errors: kUnsupported for what GGUF cannot say.
Status AddConfig(const ModelConfig& config, GgufWriter& writer);

// `writer` may hold the tokenizer's values already. Matrices become `dtype` (CanEncode); without one they stay F32, F16
// or BF16, and others become BF16. Rows that are no whole blocks of kQ8_0 become F16. Router and vectors are F32.
// Returns what the file leaves out, one sentence each. Errors: kInvalidArgument if `out` exists; kUnsupported.
Result<std::vector<std::string>> ExportGguf(const Model& model, GgufWriter writer, const std::string& out,
                                            std::optional<DType> dtype, const KernelSet& kernels, ThreadPool& pool,
                                            const ProgressFn& progress);

}  // namespace minke
