#pragma once

// Random ragged problems and their truth by plain loops, for checks of the core without Python.

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "codebook_layout.hpp"

namespace spinlock::check {

// Buffers are exactly as large as the core may touch, for the sanitizers to watch.
struct Problem {
  PackingPlan plan;
  std::int64_t num_rows;
  std::int64_t row_stride;
  std::vector<float> latents;
  std::vector<float> weight;

  const float* row(std::int64_t i, std::size_t q) const {
    return latents.data() + i * row_stride + plan.input_offsets[q];
  }
  const float* code(std::int64_t k, std::size_t q) const {
    return weight.data() + plan.weight_offsets[q] + k * plan.padded_dims[q];
  }
};

using Random = std::mt19937_64;

inline std::int64_t up_to(Random& random, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(0, high)(random);
}

// Small numbers mostly, large ones sometimes.
inline std::int64_t size_up_to(Random& random, std::int64_t high) {
  const double share = std::uniform_real_distribution<double>(0.0, 1.0)(random);
  return 1 + static_cast<std::int64_t>(static_cast<double>(high - 1) * share * share * share * share);
}

// Rows and codes of one quantizer: Gaussian, clustered, on a grid, near midpoints or copied.
inline void fill_quantizer(Random& random, Problem& problem, std::size_t q) {
  std::normal_distribution<float> normal;
  const std::int64_t kind = up_to(random, 6), dim = problem.plan.dims[q];
  const std::int64_t num_codes = problem.plan.codebook_sizes[q];
  const float offsets[] = {0.0f, 10.0f, 1000.0f}, gaps[] = {100.0f, 1000.0f};
  const float scales[] = {1.0f, 1.0f, 1e-3f, 1e-12f, 1e12f, 1e-38f, 1e-43f, 1e19f, 1e30f};
  const float offset = offsets[up_to(random, 2)], gap = gaps[up_to(random, 1)];
  const float scale = scales[up_to(random, 8)];
  const auto value = [&](float side) {
    if (kind == 2) return static_cast<float>(up_to(random, 4)) - 2.0f;
    return normal(random) + (kind == 1 ? side * gap : 0.0f);
  };
  const auto code_at = [&](std::int64_t k) {
    return problem.weight.data() + problem.plan.weight_offsets[q] + k * problem.plan.padded_dims[q];
  };
  for (std::int64_t k = 0; k < num_codes; ++k) {
    const float side = up_to(random, 1) == 0 ? -1.0f : 1.0f;
    const bool copy = kind == 3 && k > 0 && up_to(random, 2) > 0;
    const float* const other = copy ? code_at(up_to(random, k - 1)) : nullptr;
    for (std::int64_t d = 0; d < dim; ++d) {
      code_at(k)[d] = copy ? other[d] : (value(side) + offset) * scale;
    }
  }
  for (std::int64_t i = 0; i < problem.num_rows; ++i) {
    float* const row =
        problem.latents.data() + i * problem.row_stride + problem.plan.input_offsets[q];
    const float side = up_to(random, 1) == 0 ? -1.0f : 1.0f;
    const float far = kind == 4 && up_to(random, 2) == 0 ? 1e6f : 1.0f;
    const float* const a = code_at(up_to(random, num_codes - 1));
    const float* const b = code_at(up_to(random, num_codes - 1));
    for (std::int64_t d = 0; d < dim; ++d) {
      row[d] = kind == 5 ? a[d] * 0.5f + b[d] * 0.5f : (value(side) + offset) * far * scale;
    }
  }
  const float broken[] = {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()};
  if (up_to(random, 3) == 0) code_at(up_to(random, num_codes - 1))[0] = broken[up_to(random, 2)];
  for (std::int64_t n = up_to(random, 3) == 0 ? problem.num_rows / 5 : 0; n > 0; --n) {
    const std::int64_t i = up_to(random, problem.num_rows - 1);
    problem.latents[static_cast<std::size_t>(i * problem.row_stride + problem.plan.input_offsets[q] +
                                             up_to(random, dim - 1))] = broken[up_to(random, 2)];
  }
}

inline Problem random_problem(Random& random) {
  constexpr std::int64_t kWork = 1'000'000;
  // Some problems are large enough for a bfloat16 first pass.
  const bool large = up_to(random, 5) == 0;
  const std::int64_t count = large ? 1 : 1 + up_to(random, 3);
  std::vector<std::int64_t> sizes, dims;
  std::int64_t per_row = 0;
  for (std::int64_t q = 0; q < count; ++q) {
    dims.push_back(large ? 7 + size_up_to(random, 250) : size_up_to(random, 512));
    sizes.push_back(large ? 33000 / dims.back() + up_to(random, 50) : size_up_to(random, 16384));
    per_row += sizes.back() * dims.back();
  }
  const std::int64_t alignments[] = {1, 4, 16};
  Problem problem{PackingPlan(sizes, dims, alignments[up_to(random, 2)]), 0, 0, {}, {}};
  const std::int64_t most = 1 + kWork / (per_row + 1);
  problem.num_rows = up_to(random, 9) == 0 ? up_to(random, 1)
                     : large               ? (up_to(random, 1) == 0 ? 500 : 1024) + up_to(random, 150)
                                           : up_to(random, most < 3000 ? most : 3000);
  problem.row_stride = problem.plan.input_width + up_to(random, 1) * 3;
  const std::int64_t floats =
      problem.num_rows == 0
          ? 0
          : (problem.num_rows - 1) * problem.row_stride + problem.plan.input_width;
  problem.latents.assign(static_cast<std::size_t>(floats), 0.0f);
  problem.weight.assign(static_cast<std::size_t>(problem.plan.weight_size), 0.0f);
  for (std::size_t q = 0; q < dims.size(); ++q) fill_quantizer(random, problem, q);
  return problem;
}

inline bool finite_row(const Problem& problem, std::int64_t i, std::size_t q) {
  for (std::int64_t d = 0; d < problem.plan.dims[q]; ++d) {
    if (!std::isfinite(problem.row(i, q)[d])) return false;
  }
  return true;
}

// The float64 truth; 0 for a row that is not finite.
inline std::int64_t nearest_code(const Problem& problem, std::int64_t i, std::size_t q) {
  if (!finite_row(problem, i, q)) return 0;
  const float* const x = problem.row(i, q);
  double best = std::numeric_limits<double>::infinity();
  std::int64_t chosen = 0;
  for (std::int64_t k = 0; k < problem.plan.codebook_sizes[q]; ++k) {
    const float* const c = problem.code(k, q);
    double distance = 0.0;
    for (std::int64_t d = 0; d < problem.plan.dims[q]; ++d) {
      const double difference = static_cast<double>(x[d]) - static_cast<double>(c[d]);
      const double square = difference * difference;
      distance += square;
    }
    if (distance < best) {
      best = distance;
      chosen = k;
    }
  }
  return chosen;
}

}  // namespace spinlock::check
