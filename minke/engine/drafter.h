// Speculative decoding by the model's own MTP layer: after a step it guesses each sequence's next tokens, and the next
// step runs the guesses ("drafts") as rows beside the last known token. A row's logits depend on that row alone, so a
// draft that turns out to be the token which is sampled anyway has made one more step unnecessary, and one that does
// not has changed nothing.
//
// A draft is drawn as the token itself will be, from the MTP layer's logits: same parameters, same penalties so far and
// the same number of the request's counter-based stream. Where the two distributions are near each other, so are the
// tokens that one number picks from them. The token is always the one drawn from the model's own logits, so the promise
// is stronger than that of the usual rule, which accepts a draft with probability min(1, p/q) and keeps the
// distribution: here a seed keeps its bytes, whether drafts are on, off, or switched by a clock (draft_gate.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "minke/engine/request.h"
#include "minke/engine/sampler.h"
#include "minke/model/forward.h"

namespace minke {

// Keeps the MTP layer's rows of the cache complete: of each sequence, positions [0, known tokens - 1), whose next token
// is known. The worker's alone; allocates nothing once it stands.
class Drafter {
 public:
  Drafter(Forward& forward, Sampler& sampler, int64_t max_sequences, int64_t max_batch_tokens);

  // What one sequence brings from the last Forward::Run: `count` rows from `row` on in the batch, which were its
  // positions [pos, pos + count). All its tokens to pos + count are known, drafts that were right among them; rows of
  // wrong ones are left out, and thereby overwritten later. `num_drafts`: how many of its next tokens to guess.
  struct Part {
    Request& request;
    std::span<float* const> pages;
    int64_t pos = 0, count = 0;
    int64_t row = 0;
    int64_t num_drafts = 0;
  };

  void Begin();  // forgets what was added: a step may have failed between
  void Add(const Part& part);
  // One pass of the MTP layer over all parts, then one for each further draft. Each request's `drafts` holds
  // num_drafts tokens or fewer. Overwrites the logits of Forward::Run.
  void Run();

 private:
  struct Line {
    Request* request;
    std::span<float* const> pages;
    int64_t pos;  // its last row in the MTP layer's cache
    int64_t num_drafts;
    int32_t row = 0;  // of Forward::hidden() after the last pass, for the next
  };
  void Guess(TensorView<const float, 2> logits);
  static bool WantsMore(const Line& line);

  Forward& forward_;
  Sampler& sampler_;
  std::vector<BatchItem> items_;
  std::vector<int32_t> rows_;  // of hidden() that the items' tokens read
  std::vector<Line> lines_;    // those that still draft
};

}  // namespace minke
