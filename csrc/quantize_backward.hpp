#pragma once

#include <cstdint>

#include "codebook_layout.hpp"
#include "simd/isa.hpp"

namespace spinlock {

// What the gradient of a step's latents follows from; matrices have input_width columns.
struct BackwardRequest {
  const PackingPlan& plan;
  std::int64_t num_rows;
  const float* latents;  // rows latents_stride elements apart
  std::int64_t latents_stride;
  // The codes of the step: dense rows of them, or null and the codebooks as they were, packed like the
  // plan, with the [num_rows, Q] that were chosen.
  const float* quantized;
  const float* weight;
  const std::int64_t* indices;
  const std::int64_t* counts;  // [total_codes], of the step
  const float* grad_quantized;  // rows grad_stride elements apart; null: none
  std::int64_t grad_stride;
  const float* grad_losses;  // [Q], losses_stride elements apart: 0 where they share one value
  std::int64_t losses_stride;
  int threads;
  Isa isa;
};

// grad_latents, dense: straight-through, plus 2 (x - code) / (usable rows x D) times the gradient of
// each loss; 0 where a row is not finite within a quantizer's columns. Every operation is rounded on
// its own: the same bits for any number of threads and every instruction set. Throws LayoutError for
// indices outside their codebook; std::bad_alloc.
void quantize_backward(const BackwardRequest& request, float* grad_latents);

}  // namespace spinlock
