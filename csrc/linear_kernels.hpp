#pragma once

#include <array>
#include <cstdint>

namespace spinlock {

inline constexpr int kStretches = 4;

// Memory that is read or written soon: rows of so many columns, `stride` apart.
struct Stretch {
  const float* data = nullptr;
  std::int64_t stride = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

using Stretches = std::array<Stretch, kStretches>;

// out(r, c) = start(r, c) + sum over k of a(r, k) b(k, c), not below 0 if `positive`, in float32
// and ascending k. Rows of b begin on the boundary of a vector and end with whole ones, whatever they
// hold there. Columns of start and out lie side by side; rows of `start` may all be the same one
// (start_row 0), and without it sums start at 0. `out` may be `start`. Of `spare` columns behind
// them, fewer than a vector has may be read in start and overwritten in out.
struct Product {
  const float* a;
  std::int64_t a_row, a_column;
  const float* b;
  std::int64_t b_row;
  const float* start;
  std::int64_t start_row;
  float* out;
  std::int64_t out_row;
  std::int64_t rows, columns, depth;
  bool positive;
  std::int64_t spare;
  Stretches next = {};  // fetched into a cache meanwhile
};

// packed(r, c) = grad(r, c), or 0 where output(r, c) is not above 0; sums(c) += packed(r, c) in
// ascending r. Rows of packed, and sums, begin on the boundary of a vector and end with whole ones.
struct OutputGradient {
  const float* output;  // null: all passes
  std::int64_t output_row;
  const float* grad;
  std::int64_t grad_row;
  float* packed;
  std::int64_t packed_row;
  float* sums;
  std::int64_t rows, columns;
};

// to(c, r) = from(r, c).
struct Turn {
  const float* from;
  std::int64_t from_row;
  std::int64_t rows, columns;
  float* to;
  std::int64_t to_row;
};

}  // namespace spinlock
