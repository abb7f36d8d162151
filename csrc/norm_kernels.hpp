#pragma once

#include <cstdint>

namespace spinlock {

// Rows of one segment. Weights and biases are padded with 0 to whole cache lines.
struct NormRows {
  const float* input;
  std::int64_t input_row;
  const float* weight;
  const float* bias;
  float epsilon;
  float* output;
  std::int64_t output_row;
  float* moments;  // mean and 1 / deviation of each row
  std::int64_t moments_row;
  std::int64_t rows, width;
};

// Their gradients: of the input written, of weight and bias added to sums that are padded alike, in
// ascending order of the rows.
struct NormGradients {
  const float* input;
  std::int64_t input_row;
  const float* moments;
  std::int64_t moments_row;
  const float* weight;
  const float* grad;
  std::int64_t grad_row;
  float* grad_input;
  std::int64_t grad_input_row;
  float* weight_sums;
  float* bias_sums;
  std::int64_t rows, width;
};

}  // namespace spinlock
