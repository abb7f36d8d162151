#pragma once

#include <algorithm>
#include <cstdint>

#include "ragged_linear.hpp"

// Included after the vectors of one instruction set, which it is compiled for.
namespace spinlock {
namespace {

// Sums that stay in registers: kProductRows x kProductVectors, beside the vectors of b.
constexpr int kProductRows = Vectors::kRowVectors == 4 ? 8 : 4;
constexpr int kProductVectors = 3;

template <int Count, int Wide>
using ProductSums = typename Vectors::Floats[Count][Wide];

// Adds terms first .. end - 1. Part: of the last vector of b only `last` elements may be read, which
// costs far more than reading all. Inlined, or the sums would not stay in registers.
template <int Count, int Wide, bool Part>
[[gnu::always_inline]] inline void add_terms(const Product& p, const float* a, const float* b, std::int64_t first,
               std::int64_t end, int last, ProductSums<Count, Wide>& sums) {
  constexpr int kLast = Wide - 1;
  a += first * p.a_column;
  b += first * p.b_row;
  for (std::int64_t k = first; k < end; ++k, a += p.a_column, b += p.b_row) {
    typename Vectors::Floats row[Wide];
    for (int v = 0; v < kLast; ++v) row[v] = Vectors::load_any(b + v * Vectors::kLanes);
    row[kLast] = Part ? Vectors::load_first(b + kLast * Vectors::kLanes, last)
                      : Vectors::load_any(b + kLast * Vectors::kLanes);
    for (int r = 0; r < Count; ++r) {
      const typename Vectors::Floats value = Vectors::all(a[r * p.a_row]);
      for (int v = 0; v < Wide; ++v) sums[r][v] = Vectors::add_product(value, row[v], sums[r][v]);
    }
  }
}

// Wide vectors of columns, the last one holding `last` of them.
struct Columns {
  const float* b;
  const float* start;
  float* out;
  int last;
  std::int64_t whole_terms;  // so many rows of b may be read to the end of the last vector
};

// The sums of Count rows.
template <int Count, int Wide, bool Whole>
void product_block(const Product& p, const float* a, const Columns& columns) {
  constexpr int kLast = Wide - 1;
  ProductSums<Count, Wide> sums;
  for (int r = 0; r < Count; ++r) {
    for (int v = 0; v < Wide; ++v) {
      const std::int64_t from = r * p.start_row + v * Vectors::kLanes;
      if (columns.start == nullptr) {
        sums[r][v] = Vectors::all(0.0f);
      } else if (Whole || v < kLast) {
        sums[r][v] = Vectors::load_any(columns.start + from);
      } else {
        sums[r][v] = Vectors::load_first(columns.start + from, columns.last);
      }
    }
  }
  const std::int64_t whole = Whole ? p.depth : columns.whole_terms;
  add_terms<Count, Wide, false>(p, a, columns.b, 0, whole, columns.last, sums);
  if (!Whole) add_terms<Count, Wide, true>(p, a, columns.b, whole, p.depth, columns.last, sums);
  const typename Vectors::Floats zero = Vectors::all(0.0f);
  for (int r = 0; r < Count; ++r) {
    for (int v = 0; v < Wide; ++v) {
      float* const to = columns.out + r * p.out_row + v * Vectors::kLanes;
      // NaN stays: the sum is the operand that is kept where a comparison decides nothing.
      const typename Vectors::Floats sum =
          p.positive ? Vectors::most(zero, sums[r][v]) : sums[r][v];
      if (Whole || v < kLast) {
        Vectors::store_any(to, sum);
      } else {
        Vectors::store_first(to, sum, columns.last);
      }
    }
  }
}

template <int Wide, bool Whole>
void product_rows(const Product& p, Columns columns) {
  const float* a = p.a;
  std::int64_t left = p.rows;
  const auto advance = [&](std::int64_t count) {
    a += count * p.a_row;
    if (columns.start != nullptr) columns.start += count * p.start_row;
    columns.out += count * p.out_row;
    left -= count;
  };
  while (left >= kProductRows) {
    product_block<kProductRows, Wide, Whole>(p, a, columns);
    advance(kProductRows);
  }
  if (kProductRows > 4 && left >= 4) {
    product_block<4, Wide, Whole>(p, a, columns);
    advance(4);
  }
  if (left >= 2) {
    product_block<2, Wide, Whole>(p, a, columns);
    advance(2);
  }
  if (left >= 1) product_block<1, Wide, Whole>(p, a, columns);
}

template <int Wide>
void product_columns(const Product& p, std::int64_t column) {
  const std::int64_t last = p.columns - column - (Wide - 1) * Vectors::kLanes;
  const std::int64_t beyond = p.b_readable - column - Wide * Vectors::kLanes;
  Columns columns{p.b + column, p.start == nullptr ? nullptr : p.start + column, p.out + column,
                  Vectors::kLanes, p.depth};
  if (last >= Vectors::kLanes) {
    product_rows<Wide, true>(p, columns);
    return;
  }
  columns.last = static_cast<int>(last);
  columns.whole_terms = beyond < 0 ? 0 : std::min(p.depth, beyond / p.b_row + 1);
  product_rows<Wide, false>(p, columns);
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
