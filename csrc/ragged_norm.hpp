#pragma once

#include <cstdint>
#include <vector>

#include "simd/isa.hpp"

namespace spinlock {

// Layer norms of segments of different widths, side by side: each segment of a row is shifted and
// scaled to mean 0 and variance 1 (plus epsilon), times its weight, plus its bias. Weights and biases
// are [segments, most].
struct RaggedNorm {
  // Throws LayoutError unless all widths are 1 or more and the bytes of a row fit 64 bits.
  explicit RaggedNorm(std::vector<std::int64_t> widths);

  std::vector<std::int64_t> widths, offsets;
  std::int64_t width;  // of a whole row
  std::int64_t most;

  std::int64_t num_segments() const { return static_cast<std::int64_t>(widths.size()); }
  std::int64_t weight_size() const { return num_segments() * most; }
  std::int64_t moments_width() const { return 2 * num_segments(); }
};

struct NormForward {
  const float* input;  // [rows, width], `input_stride` apart
  std::int64_t input_stride;
  std::int64_t rows;
  const float* weight;
  const float* bias;
  float epsilon;
  float* output;   // [rows, width]
  float* moments;  // [rows, moments_width]: mean and 1 / deviation of each segment
};

struct NormBackward {
  const float* input;
  std::int64_t input_stride;
  std::int64_t rows;
  const float* moments;
  const float* weight;
  const float* grad;  // [rows, width], `grad_stride` apart
  std::int64_t grad_stride;
  float* grad_input;   // [rows, width]; null: not wanted, as below
  float* grad_weight;  // as the weight, 0 in its padding
  float* grad_bias;
};

// Bitwise the same for any number of threads.
void ragged_norm_forward(const RaggedNorm& shape, const NormForward& call, int threads, Isa isa);
void ragged_norm_backward(const RaggedNorm& shape, const NormBackward& call, int threads, Isa isa);

}  // namespace spinlock
