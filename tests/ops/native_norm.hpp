#pragma once

// Ragged layer norms of random widths against moments in double.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "ragged_norm.hpp"
#include "simd/isa.hpp"

namespace spinlock::check {

struct NormResults {
  std::vector<float> output, moments, grad_input, grad_weight, grad_bias;

  bool operator==(const NormResults& other) const {
    const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
      return a.size() == b.size() &&
             (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
    };
    return same(output, other.output) && same(moments, other.moments) &&
           same(grad_input, other.grad_input) && same(grad_weight, other.grad_weight) &&
           same(grad_bias, other.grad_bias);
  }
};

// What is wrong with the norms of one seed, or null.
inline const char* norm_finding(std::uint64_t seed, Isa isa) {
  std::mt19937_64 random(seed);
  const auto whole = [&](std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(random);
  };
  const auto normal = [&](std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = std::normal_distribution<float>()(random);
    return values;
  };
  std::vector<std::int64_t> widths(static_cast<std::size_t>(whole(1, 5)));
  for (std::int64_t& width : widths) width = whole(1, 70);
  const RaggedNorm shape(widths);
  const std::int64_t rows = whole(0, 200), segments = shape.num_segments();
  const std::int64_t input_stride = shape.width + whole(0, 3);
  const std::int64_t grad_stride = shape.width + whole(0, 3);
  const auto matrix = [&](std::int64_t stride) {
    return normal(rows == 0 ? 0 : (rows - 1) * stride + shape.width);
  };
  const std::vector<float> input = matrix(input_stride), grad = matrix(grad_stride);
  const std::vector<float> weight = normal(shape.weight_size()), bias = normal(shape.weight_size());
  constexpr float kEpsilon = 1e-3f;
  bool wanted[3];  // the gradients of input, weight and bias
  for (bool& each : wanted) each = whole(0, 3) > 0;
  const auto run = [&](int threads) {
    const auto poisoned = [](std::int64_t count) {
      return std::vector<float>(static_cast<std::size_t>(count),
                                std::numeric_limits<float>::quiet_NaN());
    };
    NormResults found{poisoned(rows * shape.width), poisoned(rows * shape.moments_width()),
                      poisoned(rows * shape.width), poisoned(shape.weight_size()),
                      poisoned(shape.weight_size())};
    ragged_norm_forward(shape,
                        {input.data(), input_stride, rows, weight.data(), bias.data(), kEpsilon,
                         found.output.data(), found.moments.data()},
                        threads, isa);
    ragged_norm_backward(shape,
                         {input.data(), input_stride, rows, found.moments.data(), weight.data(),
                          grad.data(), grad_stride,
                          wanted[0] ? found.grad_input.data() : nullptr,
                          wanted[1] ? found.grad_weight.data() : nullptr,
                          wanted[2] ? found.grad_bias.data() : nullptr},
                         threads, isa);
    return found;
  };
  const NormResults found = run(1);
  if (!(found == run(3))) return "ragged norm: another number of threads, another result";
  const auto at = [](const std::vector<float>& values, std::int64_t i) {
    return static_cast<double>(values[static_cast<std::size_t>(i)]);
  };
  // NaN is too far.
  const auto far = [](double value, double truth, double tolerance) {
    return !(std::abs(value - truth) <= tolerance * (1.0 + std::abs(truth)));
  };
  for (std::int64_t g = 0; g < segments; ++g) {
    const std::int64_t first = shape.offsets[static_cast<std::size_t>(g)];
    const std::int64_t n = shape.widths[static_cast<std::size_t>(g)];
    const double share = 1.0 / static_cast<double>(n);
    std::vector<double> weights(static_cast<std::size_t>(shape.most), 0.0), biases = weights;
    for (std::int64_t r = 0; r < rows; ++r) {
      double mean = 0.0, variance = 0.0, shift = 0.0, slope = 0.0;
      const auto x = [&](std::int64_t i) { return at(input, r * input_stride + first + i); };
      const auto given = [&](std::int64_t i) { return at(grad, r * grad_stride + first + i); };
      for (std::int64_t i = 0; i < n; ++i) mean += x(i) * share;
      for (std::int64_t i = 0; i < n; ++i) variance += (x(i) - mean) * (x(i) - mean) * share;
      const double scale = 1.0 / std::sqrt(variance + static_cast<double>(kEpsilon));
      const auto unit = [&](std::int64_t i) { return (x(i) - mean) * scale; };
      const auto weighted = [&](std::int64_t i) { return given(i) * at(weight, g * shape.most + i); };
      for (std::int64_t i = 0; i < n; ++i) {
        shift += weighted(i) * share;
        slope += weighted(i) * unit(i) * share;
        weights[static_cast<std::size_t>(i)] += given(i) * unit(i);
        biases[static_cast<std::size_t>(i)] += given(i);
      }
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t place = r * shape.width + first + i;
        const double out = unit(i) * at(weight, g * shape.most + i) + at(bias, g * shape.most + i);
        // Of values that differ little, the scale multiplies what rounding has left.
        const double tolerance = 1e-5 + 1e-6 * scale;
        if (far(at(found.output, place), out, tolerance)) return "ragged norm: output";
        const double back = scale * (weighted(i) - shift - unit(i) * slope);
        if (wanted[0] && far(at(found.grad_input, place), back, scale * tolerance)) {
          return "ragged norm: gradient of the input";
        }
      }
    }
    for (std::int64_t i = 0; i < shape.most; ++i) {
      const auto index = static_cast<std::size_t>(i);
      const double tolerance = 1e-4 + 1e-5 * static_cast<double>(rows);
      if (wanted[1] && far(at(found.grad_weight, g * shape.most + i), weights[index], tolerance)) {
        return "ragged norm: gradient of the weight";
      }
      if (wanted[2] && far(at(found.grad_bias, g * shape.most + i), biases[index], tolerance)) {
        return "ragged norm: gradient of the bias";
      }
    }
  }
  return nullptr;
}

}  // namespace spinlock::check
