#pragma once

#include <cstdint>

#include "linear_kernels.hpp"

namespace spinlock {

inline std::int64_t parts_of(std::int64_t count, std::int64_t each) {
  return (count + each - 1) / each;
}

// Rows that are worked on group by group, and as many behind them as are fetched meanwhile.
struct RowBlock {
  static constexpr std::int64_t kRows = 64;

  std::int64_t first, rows, next_rows;

  // The rows from `start` on, up to kRows of those before `end`.
  static RowBlock of(std::int64_t start, std::int64_t end);

  // What is fetched of a matrix during a group whose columns are column .. end - 1 of all `width`.
  // Where all groups are worked on, a stretch of memory in place of these columns: the machine's
  // prefetchers follow lines side by side, but do not find columns that lie 1 KB apart.
  Stretch next(const float* data, std::int64_t stride, std::int64_t width, std::int64_t column,
               std::int64_t end, bool all_groups) const;
};

}  // namespace spinlock
