#pragma once

#include <cstdint>
#include <vector>

#include "aligned_buffer.hpp"
#include "linear_kernels.hpp"
#include "ragged_linear.hpp"
#include "row_kernels.hpp"

namespace spinlock {

// Matrices of all groups whose rows begin on cache lines and end with whole ones: vectors that cross
// lines cost twice, masked ones more.
struct LinearPanels {
  AlignedFloats memory;
  const float* data;
  std::int64_t block, row;  // of a group, of one of its rows

  const float* group(std::int64_t g) const { return data + g * block; }
};

inline std::int64_t whole_lines(std::int64_t width) {
  return (width + kLineFloats - 1) / kLineFloats * kLineFloats;
}

// [in, out] of every group, or [out, in] if `turned`: the weight itself where it lies like that.
LinearPanels weight_panels(const RaggedLinear& shape, const float* weight, bool turned,
                           const RowKernels& kernels);

// A row of every group, from rows `most` apart; 0 behind its width. Null: null.
LinearPanels padded_rows(const std::vector<std::int64_t>& widths, std::int64_t most,
                         const float* rows);

// In chunks of terms, so that what all rows read of b stays in the cache.
inline void multiply_deep(const RowKernels& kernels, Product product) {
  // 3 vectors of so many rows stay in the L1 cache.
  constexpr std::int64_t kDepth = 128;
  const std::int64_t depth = product.depth;
  const bool positive = product.positive;
  for (std::int64_t done = 0; done == 0 || done < depth; done += kDepth) {
    product.depth = depth - done < kDepth ? depth - done : kDepth;
    product.positive = positive && done + kDepth >= depth;
    kernels.multiply(product);
    product.a += kDepth * product.a_column;
    product.b += kDepth * product.b_row;
    product.start = product.out;
    product.start_row = product.out_row;
    product.next = {};
  }
}

// Rows that are worked on group by group, and as many behind them as are fetched meanwhile.
struct RowBlock {
  std::int64_t first, rows, next_rows;

  // What is fetched of a matrix during a group whose columns are first_column .. end - 1 of all
  // `width`. Where all groups are worked on, a stretch of memory in place of these columns: the
  // machine's prefetchers follow lines side by side, but do not find columns that lie 1 KB apart.
  Stretch next(const float* data, std::int64_t stride, std::int64_t width, std::int64_t column,
               std::int64_t end, bool all_groups) const;
};

// Of the rows up to `end`, `most` from `first` on.
inline RowBlock row_block(std::int64_t first, std::int64_t end, std::int64_t most) {
  const std::int64_t left = end - first;
  if (left <= most) return {first, left, 0};
  return {first, most, left < 2 * most ? left - most : most};
}

}  // namespace spinlock
