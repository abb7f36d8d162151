#pragma once

#include <cstdint>

#include "linear_kernels.hpp"

// Included after the vectors of one instruction set, which it is compiled for.
namespace spinlock {
namespace {

// Wide vectors of columns of all rows; the last holds `last` elements.
template <int Wide, bool Part>
void gradient_columns(const OutputGradient& g, std::int64_t column, int last) {
  constexpr int kLast = Wide - 1;
  const auto load = [last](const float* from, int v) {
    from += v * Vectors::kLanes;
    return Part && v == kLast ? Vectors::load_first(from, last) : Vectors::load_any(from);
  };
  const typename Vectors::Floats zero = Vectors::all(0.0f);
  typename Vectors::Floats sums[Wide];
  for (int v = 0; v < Wide; ++v) sums[v] = Vectors::load(g.sums + column + v * Vectors::kLanes);
  const float* from = g.grad + column;
  const float* value = g.output == nullptr ? nullptr : g.output + column;
  float* to = g.packed + column;
  for (std::int64_t r = 0; r < g.rows; ++r, from += g.grad_row, to += g.packed_row) {
    for (int v = 0; v < Wide; ++v) {
      typename Vectors::Floats passed = load(from, v);
      if (value != nullptr) passed = Vectors::keep(Vectors::below(zero, load(value, v)), passed);
      sums[v] = Vectors::add(sums[v], passed);
      Vectors::store(to + v * Vectors::kLanes, passed);
    }
    if (value != nullptr) value += g.output_row;
  }
  for (int v = 0; v < Wide; ++v) Vectors::store(g.sums + column + v * Vectors::kLanes, sums[v]);
}

void pack_gradient(const OutputGradient& g) {
  constexpr int kLanes = Vectors::kLanes, kWide = 4;
  std::int64_t column = 0;
  for (; column + kWide * kLanes <= g.columns; column += kWide * kLanes) {
    gradient_columns<kWide, false>(g, column, kLanes);
  }
  for (; column + kLanes <= g.columns; column += kLanes) {
    gradient_columns<1, false>(g, column, kLanes);
  }
  const int left = static_cast<int>(g.columns - column);
  if (left > 0) gradient_columns<1, true>(g, column, left);
}

}  // namespace
}  // namespace spinlock
