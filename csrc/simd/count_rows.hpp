#pragma once

#include <cstdint>

#include "simd/row_tile.hpp"

// Rows counted by code.

namespace spinlock {
namespace {

// Up to so many codes, 64 rows as bytes are compared with each of them: a table in memory waits for
// the row before that had the same code.
constexpr std::int64_t kComparedCodes = 64;

// As many rows from the first one on as that is done for.
template <typename W>
std::int64_t count_compared(const std::int32_t* chosen, std::int64_t rows, std::int64_t num_codes,
                            std::int32_t* counts) {
  std::int64_t i = 0;
  if constexpr (W::kComparesBytes) {
    for (; num_codes <= kComparedCodes && i + 64 <= rows; i += 64) {
      const auto codes = W::pack_bytes(chosen + i);
      for (std::int64_t k = 0; k < num_codes; ++k) {
        counts[k] += __builtin_popcountll(W::equal_bytes(codes, static_cast<char>(k)));
      }
    }
  }
  return i;
}

// Adds each row to the count of its code; rows of a code below 0 are left out.
void count(const std::int32_t* chosen, std::int64_t rows, std::int64_t num_codes,
           std::int32_t* counts) {
  for (auto i = count_compared<V>(chosen, rows, num_codes, counts); i < rows; ++i) {
    if (chosen[i] >= 0) ++counts[chosen[i]];
  }
}

}  // namespace
}  // namespace spinlock
