#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "aligned_buffer.hpp"

namespace spinlock {

inline constexpr std::int64_t kLineFloats = 16;  // of a cache line

inline std::int64_t whole_lines(std::int64_t width) {
  return (width + kLineFloats - 1) / kLineFloats * kLineFloats;
}

// `width` values, and 0 up to `size`.
inline void put_padded(const float* values, std::int64_t width, float* to, std::int64_t size) {
  std::fill(std::copy(values, values + width, to), to + size, 0.0f);
}

// Blocks of rows that begin on cache lines and end with whole ones: vectors that cross lines cost
// twice, masked ones more.
struct PaddedRows {
  AlignedFloats memory;
  const float* data = nullptr;
  std::int64_t block = 0, row = 0;  // from one block, or row, to the next

  const float* at(std::int64_t index) const { return data + index * block; }
};

// A block of one row per width, from rows `most` apart. Null: null.
PaddedRows padded_rows(const std::vector<std::int64_t>& widths, std::int64_t most,
                       const float* rows);

}  // namespace spinlock
