#include "linear_panels.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace spinlock {

LinearPanels weight_panels(const RaggedLinear& shape, const float* weight, bool turned,
                           const RowKernels& kernels) {
  const std::int64_t from_block = shape.most_in * shape.most_out;
  const std::int64_t from_row = shape.transposed ? shape.most_in : shape.most_out;
  const bool copies = turned == shape.transposed;
  const auto address = reinterpret_cast<std::uintptr_t>(weight);
  if (copies && from_row % kLineFloats == 0 && address % kBufferAlignmentBytes == 0) {
    return {AlignedFloats(), weight, from_block, from_row};
  }
  const std::int64_t row = whole_lines(turned ? shape.most_in : shape.most_out);
  const std::int64_t block = row * (turned ? shape.most_out : shape.most_in);
  AlignedFloats memory = allocate_floats(block * shape.num_groups());
  for (std::int64_t g = 0; g < shape.num_groups(); ++g) {
    const auto at = static_cast<std::size_t>(g);
    const std::int64_t rows = (turned ? shape.out_widths : shape.in_widths)[at];
    const std::int64_t columns = (turned ? shape.in_widths : shape.out_widths)[at];
    const float* const from = weight + g * from_block;
    float* const to = memory.get() + g * block;
    if (copies) {
      for (std::int64_t r = 0; r < rows; ++r) {
        std::copy(from + r * from_row, from + r * from_row + columns, to + r * row);
      }
    } else {
      kernels.turn({from, from_row, columns, rows, to, row});
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      std::fill(to + r * row + columns, to + r * row + whole_lines(columns), 0.0f);
    }
  }
  const float* const data = memory.get();
  return {std::move(memory), data, block, row};
}

LinearPanels padded_rows(const std::vector<std::int64_t>& widths, std::int64_t most,
                         const float* rows) {
  if (rows == nullptr) return {AlignedFloats(), nullptr, 0, 0};
  const std::int64_t row = whole_lines(most);
  AlignedFloats memory = allocate_floats(row * static_cast<std::int64_t>(widths.size()));
  float* to = memory.get();
  for (const std::int64_t width : widths) {
    std::fill(std::copy(rows, rows + width, to), to + row, 0.0f);
    rows += most;
    to += row;
  }
  const float* const data = memory.get();
  return {std::move(memory), data, row, row};
}

Stretch RowBlock::next(const float* data, std::int64_t stride, std::int64_t width,
                       std::int64_t column, std::int64_t end, bool all_groups) const {
  if (data == nullptr || next_rows <= 0 || stride == 0) return {};
  const float* const rows_behind = data + (first + rows) * stride;
  // Rows with gaps between them are fetched one by one: gaps may be many times what is read.
  if (!all_groups || stride > width + kLineFloats) {
    return {rows_behind + column, stride, next_rows, end - column};
  }
  const std::int64_t lines = (next_rows * stride + kLineFloats - 1) / kLineFloats;
  const std::int64_t begin = lines * column / width;
  return {rows_behind + begin * kLineFloats, kLineFloats, lines * end / width - begin, 1};
}

}  // namespace spinlock
