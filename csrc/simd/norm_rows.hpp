#pragma once

#include <algorithm>
#include <cstdint>

#include "norm_kernels.hpp"

// Included after the vectors of one instruction set, which it is compiled for.
namespace spinlock {
namespace {

// Calls body(first element, elements) for every vector of a segment; the last may have fewer.
template <typename Body>
[[gnu::always_inline]] inline void for_vectors(std::int64_t width, const Body& body) {
  std::int64_t i = 0;
  for (; i + Vectors::kLanes <= width; i += Vectors::kLanes) body(i, Vectors::kLanes);
  if (i < width) body(i, static_cast<int>(width - i));
}

[[gnu::always_inline]] inline typename Vectors::Floats load_some(const float* from, int count) {
  return count == Vectors::kLanes ? Vectors::load_any(from) : Vectors::load_first(from, count);
}

[[gnu::always_inline]] inline void store_some(float* to, typename Vectors::Floats v, int count) {
  if (count == Vectors::kLanes) {
    Vectors::store_any(to, v);
  } else {
    Vectors::store_first(to, v, count);
  }
}

// As many rows at a time as a vector has lanes: their sums are added up side by side, and no row
// waits for the root and the division of another.
constexpr int kNormRows = Vectors::kLanes;

// The mean over `width` elements of what each of kNormRows vectors adds up to.
[[gnu::always_inline]] inline void means_of(const typename Vectors::Floats (&sums)[kNormRows],
                                            std::int64_t width, float (&means)[kNormRows]) {
  const auto share = Vectors::all(1.0f / static_cast<float>(width));
  Vectors::store_any(means, Vectors::multiply(Vectors::sum_each(sums), share));
}

void normalise(const NormRows& n) {
  using Vector = typename Vectors::Floats;
  const std::int64_t width = n.width;
  const Vector zero = Vectors::all(0.0f);
  float ones[kNormRows];
  for (float& one : ones) one = 1.0f;
  const typename Vectors::Mask inside =
      Vectors::below(zero, Vectors::load_first(ones, static_cast<int>(width % Vectors::kLanes)));
  for (std::int64_t first = 0; first < n.rows; first += kNormRows) {
    const int rows = static_cast<int>(std::min<std::int64_t>(kNormRows, n.rows - first));
    const float* const input = n.input + first * n.input_row;
    Vector sums[kNormRows];
    float means[kNormRows], scales[kNormRows];
    for (int r = 0; r < kNormRows; ++r) {
      // Of differences, so that equal values have exactly their own mean.
      Vector sum = zero;
      const float* const x = input + std::min(r, rows - 1) * n.input_row;
      const Vector value = Vectors::all(x[0]);
      for_vectors(width, [&](std::int64_t i, int count) {
        Vector apart = Vectors::subtract(load_some(x + i, count), value);
        if (count < Vectors::kLanes) apart = Vectors::keep(inside, apart);
        sum = Vectors::add(sum, apart);
      });
      sums[r] = sum;
    }
    means_of(sums, width, means);
    for (int r = 0; r < rows; ++r) means[r] += input[r * n.input_row];
    for (int r = 0; r < kNormRows; ++r) {
      Vector squares = zero;
      const float* const x = input + std::min(r, rows - 1) * n.input_row;
      const Vector mean = Vectors::all(means[r]);
      for_vectors(width, [&](std::int64_t i, int count) {
        Vector apart = Vectors::subtract(load_some(x + i, count), mean);
        if (count < Vectors::kLanes) apart = Vectors::keep(inside, apart);
        squares = Vectors::add_product(apart, apart, squares);
      });
      sums[r] = squares;
    }
    means_of(sums, width, scales);
    const Vector spread = Vectors::add(Vectors::load_any(scales), Vectors::all(n.epsilon));
    Vectors::store_any(scales, Vectors::square_root(spread));
    for (float& scale : scales) scale = 1.0f / scale;
    for (int r = 0; r < rows; ++r) {
      const float* const x = input + r * n.input_row;
      float* const out = n.output + (first + r) * n.output_row;
      const Vector mean = Vectors::all(means[r]), scale = Vectors::all(scales[r]);
      for_vectors(width, [&](std::int64_t i, int count) {
        const Vector unit =
            Vectors::multiply(Vectors::subtract(load_some(x + i, count), mean), scale);
        const Vector weight = Vectors::load(n.weight + i);
        store_some(out + i, Vectors::add_product(unit, weight, Vectors::load(n.bias + i)), count);
      });
      float* const moments = n.moments + (first + r) * n.moments_row;
      moments[0] = means[r];
      moments[1] = scales[r];
    }
  }
}

// With u = (x - mean) scale and g = weight grad: scale (g - mean of g - u (mean of g u)).
void norm_gradients(const NormGradients& n) {
  using Vector = typename Vectors::Floats;
  const std::int64_t width = n.width;
  for (std::int64_t first = 0; first < n.rows; first += kNormRows) {
    const int rows = static_cast<int>(std::min<std::int64_t>(kNormRows, n.rows - first));
    Vector sums[kNormRows], along[kNormRows];
    const auto each_vector = [&](int r, const auto& body) {
      if (r >= rows) return;
      const float* const x = n.input + (first + r) * n.input_row;
      const float* const grad = n.grad + (first + r) * n.grad_row;
      const float* const moments = n.moments + (first + r) * n.moments_row;
      const Vector mean = Vectors::all(moments[0]), scale = Vectors::all(moments[1]);
      for_vectors(width, [&](std::int64_t i, int count) {
        const Vector unit =
            Vectors::multiply(Vectors::subtract(load_some(x + i, count), mean), scale);
        const Vector given = load_some(grad + i, count);
        body(i, count, unit, given, Vectors::multiply(given, Vectors::load(n.weight + i)));
      });
    };
    for (int r = 0; r < kNormRows; ++r) {
      Vector sum = Vectors::all(0.0f), product = sum;
      each_vector(r, [&](std::int64_t i, int, Vector unit, Vector given, Vector weighted) {
        sum = Vectors::add(sum, weighted);
        product = Vectors::add_product(weighted, unit, product);
        float* const weight_sums = n.weight_sums + i;
        float* const bias_sums = n.bias_sums + i;
        Vectors::store(weight_sums,
                       Vectors::add_product(given, unit, Vectors::load(weight_sums)));
        Vectors::store(bias_sums, Vectors::add(given, Vectors::load(bias_sums)));
      });
      sums[r] = sum;
      along[r] = product;
    }
    if (n.grad_input == nullptr) continue;
    float shifts[kNormRows], slopes[kNormRows];
    means_of(sums, width, shifts);
    means_of(along, width, slopes);
    for (int r = 0; r < rows; ++r) {
      float* const to = n.grad_input + (first + r) * n.grad_input_row;
      const Vector shift = Vectors::all(shifts[r]), slope = Vectors::all(slopes[r]);
      const Vector scale = Vectors::all(n.moments[(first + r) * n.moments_row + 1]);
      each_vector(r, [&](std::int64_t i, int count, Vector unit, Vector, Vector weighted) {
        const Vector rest = Vectors::subtract(weighted, shift);
        store_some(to + i, Vectors::multiply(scale, Vectors::subtract_product(slope, unit, rest)),
                   count);
      });
    }
  }
}

}  // namespace
}  // namespace spinlock
