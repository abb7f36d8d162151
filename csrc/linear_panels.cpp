#include "linear_panels.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace spinlock {

PaddedRows weight_panels(const RaggedLinear& shape, const float* weight, bool turned,
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

void multiply_deep(const RowKernels& kernels, Product product) {
  // 3 vectors of so many rows stay in the L1 cache.
  constexpr std::int64_t kDepth = 128;
  const std::int64_t depth = product.depth;
  const bool positive = product.positive;
  for (std::int64_t done = 0; done == 0 || done < depth; done += kDepth) {
    product.depth = std::min(kDepth, depth - done);
    product.positive = positive && done + kDepth >= depth;
    kernels.multiply(product);
    product.a += kDepth * product.a_column;
    product.b += kDepth * product.b_row;
    product.start = product.out;
    product.start_row = product.out_row;
    product.next = {};
  }
}

}  // namespace spinlock
