#include "row_blocks.hpp"

#include <algorithm>

#include "padded_rows.hpp"

namespace spinlock {

RowBlock RowBlock::of(std::int64_t start, std::int64_t end) {
  const std::int64_t rows = std::min(kRows, end - start);
  return {start, rows, std::min(kRows, end - start - rows)};
}

Stretch RowBlock::next(const float* data, std::int64_t stride, std::int64_t width,
                       std::int64_t column, std::int64_t end, bool all_groups) const {
  if (data == nullptr || next_rows <= 0 || stride == 0) return {};
  const float* const rows_behind = data + (first + rows) * stride;
  // Rows with gaps between them are fetched one by one: gaps may be many times what is read.
  if (!all_groups || stride > width + kLineFloats) {
    return {rows_behind + column, stride, next_rows, end - column};
  }
  const std::int64_t lines = parts_of(next_rows * stride, kLineFloats);
  const std::int64_t begin = lines * column / width;
  return {rows_behind + begin * kLineFloats, kLineFloats, lines * end / width - begin, 1};
}

}  // namespace spinlock
