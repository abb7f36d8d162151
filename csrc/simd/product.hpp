#pragma once

#include <cstdint>

#include "ragged_linear.hpp"

// Included after the vectors of one instruction set, which it is compiled for.
namespace spinlock {
namespace {

// Sums that stay in registers: kProductRows x kProductVectors, beside the vectors of b.
constexpr int kProductRows = Vectors::kRowVectors == 4 ? 8 : 4;
constexpr int kProductVectors = 3;

// out[r][..] for Count rows and Wide vectors of columns; the last one holds `last` of them.
template <int Count, int Wide, bool Whole>
void product_block(const Product& p, const float* a, const float* b, const float* start, float* out,
                   int last) {
  constexpr int kLast = Wide - 1;
  typename Vectors::Floats sums[Count][Wide];
  for (int r = 0; r < Count; ++r) {
    for (int v = 0; v < Wide; ++v) {
      const std::int64_t from = r * p.start_row + v * Vectors::kLanes;
      if (start == nullptr) {
        sums[r][v] = Vectors::all(0.0f);
      } else if (Whole || v < kLast) {
        sums[r][v] = Vectors::load_any(start + from);
      } else {
        sums[r][v] = Vectors::load_first(start + from, last);
      }
    }
  }
  for (std::int64_t k = 0; k < p.depth; ++k, a += p.a_column, b += p.b_row) {
    typename Vectors::Floats row[Wide];
    for (int v = 0; v < kLast; ++v) row[v] = Vectors::load_any(b + v * Vectors::kLanes);
    row[kLast] = Whole ? Vectors::load_any(b + kLast * Vectors::kLanes)
                       : Vectors::load_first(b + kLast * Vectors::kLanes, last);
    for (int r = 0; r < Count; ++r) {
      const typename Vectors::Floats value = Vectors::all(a[r * p.a_row]);
      for (int v = 0; v < Wide; ++v) sums[r][v] = Vectors::add_product(value, row[v], sums[r][v]);
    }
  }
  const typename Vectors::Floats zero = Vectors::all(0.0f);
  for (int r = 0; r < Count; ++r) {
    for (int v = 0; v < Wide; ++v) {
      float* const to = out + r * p.out_row + v * Vectors::kLanes;
      // NaN stays: the sum is the operand that is kept where a comparison decides nothing.
      const typename Vectors::Floats sum =
          p.positive ? Vectors::most(zero, sums[r][v]) : sums[r][v];
      if (Whole || v < kLast) {
        Vectors::store_any(to, sum);
      } else {
        Vectors::store_first(to, sum, last);
      }
    }
  }
}

template <int Wide, bool Whole>
void product_columns(const Product& p, const float* b, const float* start, float* out, int last) {
  const float* a = p.a;
  std::int64_t left = p.rows;
  const auto advance = [&](std::int64_t count) {
    a += count * p.a_row;
    if (start != nullptr) start += count * p.start_row;
    out += count * p.out_row;
    left -= count;
  };
  while (left >= kProductRows) {
    product_block<kProductRows, Wide, Whole>(p, a, b, start, out, last);
    advance(kProductRows);
  }
  if (kProductRows > 4 && left >= 4) {
    product_block<4, Wide, Whole>(p, a, b, start, out, last);
    advance(4);
  }
  if (left >= 2) {
    product_block<2, Wide, Whole>(p, a, b, start, out, last);
    advance(2);
  }
  if (left >= 1) product_block<1, Wide, Whole>(p, a, b, start, out, last);
}

template <int Wide>
void product_columns(const Product& p, std::int64_t column) {
  const float* const start = p.start == nullptr ? nullptr : p.start + column;
  const std::int64_t last = p.columns - column - (Wide - 1) * Vectors::kLanes;
  if (last >= Vectors::kLanes) {
    product_columns<Wide, true>(p, p.b + column, start, p.out + column, Vectors::kLanes);
  } else {
    product_columns<Wide, false>(p, p.b + column, start, p.out + column, static_cast<int>(last));
  }
}

void pass_where_positive(const float* value, const float* grad, std::int64_t count, float* out) {
  const typename Vectors::Floats zero = Vectors::all(0.0f);
  std::int64_t i = 0;
  for (; i + Vectors::kLanes <= count; i += Vectors::kLanes) {
    const typename Vectors::Mask passes = Vectors::below(zero, Vectors::load_any(value + i));
    Vectors::store_any(out + i, Vectors::keep(passes, Vectors::load_any(grad + i)));
  }
  if (i == count) return;
  const int last = static_cast<int>(count - i);
  const typename Vectors::Mask passes = Vectors::below(zero, Vectors::load_first(value + i, last));
  Vectors::store_first(out + i, Vectors::keep(passes, Vectors::load_first(grad + i, last)), last);
}

void multiply(const Product& p) {
  constexpr int kLanes = Vectors::kLanes;
  std::int64_t column = 0;
  // Of 4 vectors that are left, 2 and 2 keep more sums in flight than 3 and 1.
  for (;;) {
    const std::int64_t vectors = (p.columns - column + kLanes - 1) / kLanes;
    if (vectors <= 0) return;
    if (vectors == 1) {
      product_columns<1>(p, column);
      column += kLanes;
    } else if (vectors == 2 || vectors == 4) {
      product_columns<2>(p, column);
      column += 2 * kLanes;
    } else {
      product_columns<kProductVectors>(p, column);
      column += kProductVectors * kLanes;
    }
  }
}

}  // namespace
}  // namespace spinlock
