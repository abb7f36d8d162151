#pragma once

#include <algorithm>
#include <cstdint>

#include "linear_kernels.hpp"
#include "padded_rows.hpp"

// Included after the vectors of one instruction set, which it is compiled for.
namespace spinlock {
namespace {

// The most vectors of b that a block of sums is wide.
constexpr int kProductVectors = 3;

// Rows of a block: with fewer sums in flight a multiply-add waits for the one before, with more
// they and the vectors of b exceed 16 registers, or 32.
constexpr int product_rows_of(int wide) {
  if (Vectors::kRowVectors == 4) return wide == 3 ? 8 : 12;
  return wide == 3 ? 4 : wide == 2 ? 6 : 8;
}

// What a product fetches meanwhile: a few lines with every block.
class LinesAhead {
 public:
  LinesAhead(const Stretches& next, std::int64_t blocks) {
    for (const Stretch& each : next) {
      if (each.rows <= 0) continue;
      left_[used_] = each;
      step_[used_++] = (each.rows + blocks - 1) / blocks;
    }
  }

  // Inlined, for GCC takes calls of a function that only prefetches for calls without effect.
  [[gnu::always_inline]] void fetch_some() {
    for (int i = 0; i < used_; ++i) {
      Stretch& each = left_[i];
      const std::int64_t some = std::min(step_[i], each.rows);
      for (std::int64_t n = 0; n < some; ++n, each.data += each.stride) {
        for (std::int64_t c = 0; c < each.columns; c += kLineFloats) {
          __builtin_prefetch(each.data + c, 0, 2);
        }
      }
      each.rows -= some;
    }
  }

 private:
  Stretch left_[kStretches];
  std::int64_t step_[kStretches];
  int used_ = 0;
};

// What a product says of all its blocks, in registers: stores of vectors might change all else.
struct Terms {
  std::int64_t a_row, a_column, b_row, start_row, out_row, depth;
  bool positive;
};

// Wide vectors of columns, the last one holding `last` of them.
struct Columns {
  const float* b;
  const float* start;
  float* out;
  int last;
};

// The sums of Count rows. Part: of the last vector only some elements may be read from `start` and
// written, which costs more than all of them.
template <int Count, int Wide, bool Part>
[[gnu::always_inline]] inline void product_block(const Terms& p, const float* a, Columns columns) {
  constexpr int kLast = Wide - 1;
  typename Vectors::Floats sums[Count][Wide];
#pragma GCC unroll 16
  for (int r = 0; r < Count; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < Wide; ++v) {
      const std::int64_t from = r * p.start_row + v * Vectors::kLanes;
      if (columns.start == nullptr) {
        sums[r][v] = Vectors::all(0.0f);
      } else if (!Part || v < kLast) {
        sums[r][v] = Vectors::load_any(columns.start + from);
      } else {
        sums[r][v] = Vectors::load_first(columns.start + from, columns.last);
      }
    }
  }
  const float* b = columns.b;
  for (std::int64_t k = p.depth; k > 0; --k, a += p.a_column, b += p.b_row) {
    typename Vectors::Floats row[Wide];
#pragma GCC unroll 16
    for (int v = 0; v < Wide; ++v) row[v] = Vectors::load(b + v * Vectors::kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < Count; ++r) {
      const typename Vectors::Floats value = Vectors::all(a[r * p.a_row]);
#pragma GCC unroll 16
      for (int v = 0; v < Wide; ++v) sums[r][v] = Vectors::add_product(value, row[v], sums[r][v]);
    }
  }
  if (p.positive) {
    // NaN stays: the sum is the operand that is kept where a comparison decides nothing.
    const typename Vectors::Floats zero = Vectors::all(0.0f);
#pragma GCC unroll 16
    for (int r = 0; r < Count; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < Wide; ++v) sums[r][v] = Vectors::most(zero, sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Count; ++r) {
    float* const to = columns.out + r * p.out_row;
#pragma GCC unroll 16
    for (int v = 0; v < (Part ? kLast : Wide); ++v) {
      Vectors::store_any(to + v * Vectors::kLanes, sums[r][v]);
    }
    if (Part) Vectors::store_first(to + kLast * Vectors::kLanes, sums[r][kLast], columns.last);
  }
}

template <int Wide, bool Part>
[[gnu::noinline]] void product_rows(const Product& product, Columns columns, LinesAhead& ahead) {
  constexpr int kBlockRows = product_rows_of(Wide);
  const Terms p{product.a_row,   product.a_column, product.b_row,   product.start_row,
                product.out_row, product.depth,    product.positive};
  const float* a = product.a;
  std::int64_t left = product.rows;
  const auto advance = [&](std::int64_t count) {
    ahead.fetch_some();
    a += count * p.a_row;
    if (columns.start != nullptr) columns.start += count * p.start_row;
    columns.out += count * p.out_row;
    left -= count;
  };
  while (left >= kBlockRows) {
    product_block<kBlockRows, Wide, Part>(p, a, columns);
    advance(kBlockRows);
  }
  if (kBlockRows > 8 && left >= 8) {
    product_block<8, Wide, Part>(p, a, columns);
    advance(8);
  }
  if (kBlockRows > 4 && left >= 4) {
    product_block<4, Wide, Part>(p, a, columns);
    advance(4);
  }
  if (left == 3) product_block<3, Wide, Part>(p, a, columns);
  if (left == 2) product_block<2, Wide, Part>(p, a, columns);
  if (left == 1) product_block<1, Wide, Part>(p, a, columns);
}

template <int Wide>
void product_columns(const Product& p, std::int64_t column, LinesAhead& ahead) {
  const std::int64_t last = p.columns - column - (Wide - 1) * Vectors::kLanes;
  Columns columns{p.b + column, p.start == nullptr ? nullptr : p.start + column, p.out + column,
                  Vectors::kLanes};
  if (last + p.spare >= Vectors::kLanes) {
    product_rows<Wide, false>(p, columns, ahead);
  } else {
    columns.last = static_cast<int>(last);
    product_rows<Wide, true>(p, columns, ahead);
  }
}

void multiply(const Product& p) {
  constexpr int kLanes = Vectors::kLanes;
  std::int64_t vectors = (p.columns + kLanes - 1) / kLanes, column = 0;
  const std::int64_t panels = (vectors + kProductVectors - 1) / kProductVectors;
  LinesAhead ahead(p.next, panels * (p.rows / product_rows_of(kProductVectors) + 1));
  // Of 4 vectors that are left, 2 and 2 keep more sums in flight than 3 and 1.
  while (vectors > 0) {
    const int wide = vectors == 1 ? 1 : vectors == 2 || vectors == 4 ? 2 : kProductVectors;
    if (wide == 1) product_columns<1>(p, column, ahead);
    if (wide == 2) product_columns<2>(p, column, ahead);
    if (wide == kProductVectors) product_columns<kProductVectors>(p, column, ahead);
    column += wide * kLanes;
    vectors -= wide;
  }
}

}  // namespace
}  // namespace spinlock
