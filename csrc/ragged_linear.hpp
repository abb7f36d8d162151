#pragma once

#include <cstdint>
#include <vector>

#include "simd/isa.hpp"

namespace spinlock {

// Affine maps of different shapes, side by side: group g maps in_widths[g] columns of a row to
// out_widths[g]. Its weights are [in, out], or [out, in] if `transposed`, in a block of
// [most_in, most_out] or [most_out, most_in]; its bias is a row of most_out.
struct RaggedLinear {
  // Throws LayoutError unless there are as many of both, all of them 1 or more, and the bytes of
  // the weights, with rows on cache lines, fit 64 bits.
  RaggedLinear(std::vector<std::int64_t> in_widths, std::vector<std::int64_t> out_widths,
               bool transposed);

  std::vector<std::int64_t> in_widths, out_widths, in_offsets, out_offsets;
  std::int64_t in_width, out_width;  // of a whole row
  std::int64_t most_in, most_out;
  bool transposed;

  std::int64_t num_groups() const { return static_cast<std::int64_t>(in_widths.size()); }
  std::int64_t weight_size() const { return num_groups() * most_in * most_out; }
  std::int64_t bias_size() const { return num_groups() * most_out; }
};

struct LinearForward {
  const float* input;  // [rows, in_width], `input_stride` apart
  std::int64_t input_stride;
  std::int64_t rows;
  const float* weight;
  const float* bias;    // null: none
  const float* addend;  // [rows, out_width]; null: none; never beside a bias
  bool positive;        // what is below 0 becomes 0
  float* output;        // [rows, out_width]
};

struct LinearBackward {
  const float* input;
  std::int64_t input_stride;
  std::int64_t rows;
  const float* weight;
  const float* output;  // of a positive map: where it is 0, no gradient passes; null elsewhere
  const float* grad;    // [rows, out_width], `grad_stride` apart
  std::int64_t grad_stride;
  float* grad_input;   // [rows, in_width]; null: not wanted, as below
  float* grad_weight;  // as the weight, 0 in its padding
  float* grad_bias;    // as the bias, 0 in its padding
};

// Bitwise the same for any number of threads.
void ragged_linear_forward(const RaggedLinear& shape, const LinearForward& call, int threads,
                           Isa isa);
void ragged_linear_backward(const RaggedLinear& shape, const LinearBackward& call, int threads,
                            Isa isa);

}  // namespace spinlock
