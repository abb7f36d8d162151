#pragma once

#include <cstdint>

#include "linear_kernels.hpp"

// Included after the vectors of one instruction set, which it is compiled for.
namespace spinlock {
namespace {

void turn(const Turn& t) {
  constexpr std::int64_t kLanes = Vectors::kLanes, kColumns = 4;
  const auto one_by_one = [&](std::int64_t row, std::int64_t end, std::int64_t column) {
    for (; column < t.columns; ++column) {
      for (std::int64_t r = row; r < end; ++r) {
        t.to[column * t.to_row + r] = t.from[r * t.from_row + column];
      }
    }
  };
  std::int64_t row = 0;
  for (; row + kLanes <= t.rows; row += kLanes) {
    std::int64_t column = 0;
    for (; column + kColumns <= t.columns; column += kColumns) {
      typename Vectors::Floats turned[kColumns];
      Vectors::transpose4(t.from + row * t.from_row + column, t.from_row,
                          [](Vectors::Floats v) { return v; }, turned);
      for (std::int64_t c = 0; c < kColumns; ++c) {
        Vectors::store_any(t.to + (column + c) * t.to_row + row, turned[c]);
      }
    }
    one_by_one(row, row + kLanes, column);
  }
  one_by_one(row, t.rows, 0);
}

}  // namespace
}  // namespace spinlock
