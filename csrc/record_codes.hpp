#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "turn_quads.hpp"

namespace spinlock {

// Codes of rows as they are handed out: 64 bits wide, 0 for a row that is skipped (a code below 0).

inline std::int64_t count_skipped(const std::int32_t* chosen, std::int64_t rows) {
  std::int32_t signs = 0;
  for (std::int64_t i = 0; i < rows; ++i) signs |= chosen[i];
  if (signs >= 0) return 0;
  std::int64_t skipped = 0;
  for (std::int64_t i = 0; i < rows; ++i) skipped += chosen[i] < 0;
  return skipped;
}

// The codes of one quantizer, `width` elements apart.
inline void write_column(const std::int32_t* chosen, std::int64_t rows, std::int64_t* indices,
                         std::int64_t width) {
  for (std::int64_t i = 0; i < rows; ++i) indices[i * width] = std::max(chosen[i], 0);
}

typedef std::int32_t FourCodes __attribute__((vector_size(16)));

// Four rows of four quantizers, `stride` elements from one of these to the next.
inline void write_block(const std::int32_t* chosen, std::int64_t stride, std::int64_t* indices,
                        std::int64_t width) {
  FourCodes z[4], turned[4];
  for (int q = 0; q < 4; ++q, chosen += stride) {
    std::memcpy(&z[q], chosen, sizeof z[q]);
    z[q] &= z[q] >= 0;
  }
  turn_quads(z, turned);
  const FourCodes zeros = {};
  for (int i = 0; i < 4; ++i) {
    const FourCodes wide[2] = {__builtin_shufflevector(turned[i], zeros, 0, 4, 1, 5),
                               __builtin_shufflevector(turned[i], zeros, 2, 6, 3, 7)};
    std::memcpy(indices + i * width, wide, sizeof wide);
  }
}

// The codes of `width` quantizers, from one to the next `stride` elements: whole rows, side by side.
inline void write_rows(const std::int32_t* chosen, std::int64_t stride, std::int64_t rows,
                       std::int64_t* indices, std::int64_t width) {
  const std::int64_t fours = width / 4 * 4, whole = rows / 4 * 4;
  for (std::int64_t i = 0; i < whole; i += 4) {
    for (std::int64_t q = 0; q < fours; q += 4) {
      write_block(chosen + q * stride + i, stride, indices + i * width + q, width);
    }
    for (std::int64_t q = fours; q < width; ++q) {
      write_column(chosen + q * stride + i, 4, indices + i * width + q, width);
    }
  }
  for (std::int64_t q = 0; q < width; ++q) {
    write_column(chosen + q * stride + whole, rows - whole, indices + whole * width + q, width);
  }
}

}  // namespace spinlock
