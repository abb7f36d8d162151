#pragma once

#include <cstdint>
#include <vector>

#include "codebook_layout.hpp"
#include "refresh_codes.hpp"
#include "simd/isa.hpp"

namespace spinlock {

// C categories, each a latent vector of widths[c] columns, quantized by L levels: level l sees the
// first D_{c,l} columns of what the levels before it left of category c. The codebooks of a level
// have a plan of their own; those of all levels lie one after the other.
struct NestedLevels {
  // Throws LayoutError without levels, where a level has not one codebook per category, or where a
  // category is not as wide as its widest level.
  NestedLevels(std::vector<PackingPlan> plans, std::vector<std::int64_t> category_widths);

  std::vector<PackingPlan> levels;
  std::vector<std::int64_t> widths, offsets;  // of the categories in a row of latents
  std::int64_t latent_width = 0;
  std::int64_t input_width = 0;  // of all levels together, as the next three
  std::int64_t total_codes = 0;
  std::int64_t weight_size = 0;
  std::int64_t num_quantizers = 0;
};

// Buffers of all levels hold one level after the other: `seen` and `codes` L matrices
// [num_rows, input_width of the level], `indices` L matrices [num_rows, C].
struct NestedStep {
  const float* rows;  // [num_rows, latent_width], row_stride apart
  std::int64_t num_rows;
  std::int64_t row_stride;
  const float* weight;
  float* seen;            // what each level quantized
  float* codes;           // what it chose
  std::int64_t* indices;  // likewise, as numbers
  float* losses;          // [Q], see QuantizeOutputs
  std::int64_t* counts;   // [total_codes]
  float* total;           // [num_rows, latent_width], the levels' codes added up
  const CodeState* state;  // each level's part moves once the level is looked up; null: none does
};

void quantize_nested(const NestedLevels& shape, const NestedStep& step, int threads, Isa isa);

struct NestedBackward {
  std::int64_t num_rows;
  const float* seen;
  const float* codes;
  const std::int64_t* counts;
  const float* grad_total;  // [num_rows, latent_width], grad_stride apart; null: none
  std::int64_t grad_stride;
  const float* grad_losses;  // [Q]; null: none
  float* grad_rows;          // [num_rows, latent_width]
};

// Straight-through, plus 2 (seen - code) / (usable rows x D) times the gradient of each loss. What
// was not finite has no gradient.
void nested_backward(const NestedLevels& shape, const NestedBackward& call, int threads);

}  // namespace spinlock
