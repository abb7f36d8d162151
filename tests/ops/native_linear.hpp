#pragma once

// Ragged linear maps of random shapes against sums in double.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "ragged_linear.hpp"
#include "simd/isa.hpp"

namespace spinlock::check {

using Floats = std::vector<float>;

// A problem whose buffers are exactly as long as the last element that may be touched.
struct LinearProblem {
  explicit LinearProblem(std::uint64_t seed) : random(seed) {
    // Now and then deeper than what runs through at once, and wider than a piece.
    const bool wide = whole(0, 7) == 0;
    const std::int64_t groups = whole(1, wide ? 1 : 4), most = wide ? 300 : 70;
    for (std::int64_t g = 0; g < groups; ++g) {
      ins.push_back(whole(1, most));
      outs.push_back(whole(1, most));
    }
    transposed = whole(0, 1) == 1;
    positive = whole(0, 1) == 1;
    rows = whole(0, wide ? 70 : 300);
    for (bool& each : wanted) each = whole(0, 3) > 0;
  }

  std::int64_t whole(std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(random);
  }

  Floats normal(std::int64_t count) {
    Floats values(static_cast<std::size_t>(count));
    for (float& value : values) value = std::normal_distribution<float>()(random);
    return values;
  }

  // [rows, width], `stride` apart, nothing behind the last row.
  Floats matrix(std::int64_t width, std::int64_t stride) {
    return normal(rows == 0 ? 0 : (rows - 1) * stride + width);
  }

  std::mt19937_64 random;
  std::vector<std::int64_t> ins, outs;
  bool transposed, positive;
  bool wanted[3];  // the gradients of input, weight and bias
  std::int64_t rows;
};

struct LinearResults {
  Floats output, grad_input, grad_weight, grad_bias;

  bool operator==(const LinearResults& other) const {
    const auto same = [](const Floats& a, const Floats& b) {
      return a.size() == b.size() &&
             (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
    };
    return same(output, other.output) && same(grad_input, other.grad_input) &&
           same(grad_weight, other.grad_weight) && same(grad_bias, other.grad_bias);
  }
};

// What is wrong with the maps of one seed, or null.
inline const char* linear_finding(std::uint64_t seed, Isa isa) {
  LinearProblem problem(seed);
  const RaggedLinear shape(problem.ins, problem.outs, problem.transposed);
  const std::int64_t rows = problem.rows, groups = shape.num_groups();
  const std::int64_t input_stride = shape.in_width + problem.whole(0, 3);
  const std::int64_t grad_stride = shape.out_width + problem.whole(0, 3);
  const Floats input = problem.matrix(shape.in_width, input_stride);
  const Floats grad = problem.matrix(shape.out_width, grad_stride);
  const Floats weight = problem.normal(shape.weight_size());
  const Floats bias = problem.normal(shape.bias_size());
  const Floats addend = problem.matrix(shape.out_width, shape.out_width);
  const bool added = problem.whole(0, 1) == 1;
  const auto at = [](const Floats& values, std::int64_t i) {
    return values[static_cast<std::size_t>(i)];
  };
  const auto run = [&](int threads) {
    const auto poisoned = [](std::int64_t count) {
      return Floats(static_cast<std::size_t>(count), std::numeric_limits<float>::quiet_NaN());
    };
    LinearResults found{poisoned(rows * shape.out_width), poisoned(rows * shape.in_width),
                        poisoned(shape.weight_size()), poisoned(shape.bias_size())};
    const LinearForward forward{input.data(), input_stride, rows, weight.data(),
                                added ? nullptr : bias.data(), added ? addend.data() : nullptr,
                                problem.positive, found.output.data()};
    ragged_linear_forward(shape, forward, threads, isa);
    const LinearBackward backward{input.data(), input_stride, rows, weight.data(),
                                  problem.positive ? found.output.data() : nullptr, grad.data(),
                                  grad_stride,
                                  problem.wanted[0] ? found.grad_input.data() : nullptr,
                                  problem.wanted[1] ? found.grad_weight.data() : nullptr,
                                  problem.wanted[2] ? found.grad_bias.data() : nullptr};
    ragged_linear_backward(shape, backward, threads, isa);
    return found;
  };
  const LinearResults found = run(1);
  const int threads = static_cast<int>(problem.whole(2, 12));
  if (!(found == run(threads))) return "ragged linear: another number of threads, another result";
  const std::int64_t block = shape.most_in * shape.most_out;
  const auto place = [&](std::int64_t g, std::int64_t i, std::int64_t o) {
    return g * block + (shape.transposed ? o * shape.most_in + i : i * shape.most_out + o);
  };
  // Of n products of normal values; NaN is too far.
  const auto far = [](float value, double truth, std::int64_t terms) {
    return !(std::abs(static_cast<double>(value) - truth) <=
             1e-6 * static_cast<double>(terms + 4) + 1e-6 * std::abs(truth));
  };
  const auto passed = [&](std::int64_t r, std::int64_t column) {
    const bool closed = problem.positive && !(at(found.output, r * shape.out_width + column) > 0);
    return closed ? 0.0 : static_cast<double>(at(grad, r * grad_stride + column));
  };
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t first_in = shape.in_offsets[static_cast<std::size_t>(g)];
    const std::int64_t first_out = shape.out_offsets[static_cast<std::size_t>(g)];
    const std::int64_t n = problem.ins[static_cast<std::size_t>(g)];
    const std::int64_t m = problem.outs[static_cast<std::size_t>(g)];
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t o = 0; o < m; ++o) {
        double sum = added ? at(addend, r * shape.out_width + first_out + o)
                           : at(bias, g * shape.most_out + o);
        for (std::int64_t i = 0; i < n; ++i) {
          sum += static_cast<double>(at(input, r * input_stride + first_in + i)) *
                 static_cast<double>(at(weight, place(g, i, o)));
        }
        if (problem.positive) sum = std::max(sum, 0.0);
        if (far(at(found.output, r * shape.out_width + first_out + o), sum, n)) {
          return "ragged linear: output";
        }
      }
      for (std::int64_t i = 0; problem.wanted[0] && i < n; ++i) {
        double sum = 0.0;
        for (std::int64_t o = 0; o < m; ++o) {
          sum += passed(r, first_out + o) * static_cast<double>(at(weight, place(g, i, o)));
        }
        if (far(at(found.grad_input, r * shape.in_width + first_in + i), sum, m)) {
          return "ragged linear: gradient of the input";
        }
      }
    }
    for (std::int64_t o = 0; o < shape.most_out; ++o) {
      double sum = 0.0;
      for (std::int64_t r = 0; o < m && r < rows; ++r) sum += passed(r, first_out + o);
      if (problem.wanted[2] && far(at(found.grad_bias, g * shape.most_out + o), sum, rows)) {
        return "ragged linear: gradient of the bias";
      }
      for (std::int64_t i = 0; problem.wanted[1] && i < shape.most_in; ++i) {
        sum = 0.0;
        for (std::int64_t r = 0; i < n && o < m && r < rows; ++r) {
          sum += static_cast<double>(at(input, r * input_stride + first_in + i)) *
                 passed(r, first_out + o);
        }
        if (far(at(found.grad_weight, place(g, i, o)), sum, rows)) {
          return "ragged linear: gradient of the weight";
        }
      }
    }
  }
  return nullptr;
}

}  // namespace spinlock::check
