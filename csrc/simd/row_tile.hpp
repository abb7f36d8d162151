#pragma once

#include <cstdint>

#include "padded_rows.hpp"
#include "row_kernels.hpp"

// Rows in SIMD lanes: what a tile of them is, and how it is loaded; score_tile.hpp scores it. Included,
// after `Vectors`, by one translation unit per instruction set.

#if defined(__clang__)
#define SPINLOCK_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SPINLOCK_UNROLL _Pragma("GCC unroll 16")
#endif
#define SPINLOCK_INLINE inline __attribute__((always_inline))

namespace spinlock {
namespace {

using V = Vectors;
using Floats = V::Floats;
constexpr int kCodes = static_cast<int>(kPanelCodes);
constexpr int kRows = static_cast<int>(kTileRows);
// Rows that are scored together. A tile is [kRows / kTogether][D][kTogether]: what a pass over codes
// reads of it lies in consecutive lines, none of which share a place in the L1 cache.
constexpr int kTogether = V::kRowVectors * V::kLanes;
static_assert(kRows % kTogether == 0);
constexpr std::int64_t kLine = kLineFloats;
constexpr float kInfinity = __builtin_inff();

// Rows side by side, followed by zeros up to a whole vector, as load_tile wants them; `memory` holds
// kRows * dim floats.
struct RowCopies {
  float* memory;
  std::int64_t dim;

  // The rows as they are, if they fill their vectors.
  Rows in_whole_vectors(const Rows& rows) const {
    if (rows.count % V::kLanes == 0) return rows;
    for (std::int64_t i = 0; i < rows.count; ++i) copy(rows.data + i * rows.stride, i);
    return filled(rows.count);
  }

  Rows of(const float* const* rows, int count) const {
    for (int i = 0; i < count; ++i) copy(rows[i], i);
    return filled(count);
  }

 private:
  void copy(const float* row, std::int64_t to) const {
    __builtin_memcpy(memory + to * dim, row, static_cast<std::size_t>(dim) * sizeof(float));
  }

  Rows filled(std::int64_t count) const {
    for (std::int64_t i = count; i % V::kLanes != 0; ++i) {
      for (std::int64_t d = 0; d < dim; ++d) memory[i * dim + d] = 0.0f;
    }
    return {memory, dim, count};
  }
};

// Where dim 0 of a row lies in a tile; the next dim lies kTogether elements farther.
SPINLOCK_INLINE std::int64_t in_tile(int row, std::int64_t dim) {
  return row / kTogether * kTogether * dim + row % kTogether;
}

// A tile of up to kRows rows, minus centre (if any), times scale; |.|^2 of each goes to `squares`.
// Rows are read in whole vectors, those that fill up the last one must exist, and line by
// line: each cache line of a row at one go.
template <bool kCentred>
SPINLOCK_INLINE void load_tile(const Rows& rows, const CodebookPanels& panels, float* tile,
                               float* squares) {
  const std::int64_t dim = panels.dim, stride = rows.stride;
  const float* const centre = panels.centre;
  const Upcoming next = rows.next;
  const bool stretch = next.stride == 0;
  const std::int64_t line_stride = stretch ? kLine : next.stride;
  const Floats scale = V::all(panels.scale);
  for (std::int64_t begin = 0; begin < dim; begin += kLine) {
    const std::int64_t end = begin + kLine < dim ? begin + kLine : dim, width = end - begin;
    // What comes next, a few lines at a time: all at once would wait for each other.
    const float* const fetched = next.data + (stretch ? begin * next.rows : begin);
    const std::int64_t fetched_row = stretch ? width : next.stride;
    const auto lines = static_cast<int>(stretch ? (width * V::kLanes + kLine - 1) / kLine : V::kLanes);
    for (int r = 0; r < rows.count; r += V::kLanes) {
      const float* const first = rows.data + r * stride;
      float* const to = tile + in_tile(r, dim);
      if (r + V::kLanes <= next.rows) {
        const float* const line = fetched + r * fetched_row;
        for (int i = 0; i < lines; ++i) __builtin_prefetch(line + i * line_stride, 0, 2);
      }
      Floats square = kCentred && begin > 0 ? V::load(squares + r) : V::all(0.0f);
      const auto put = [&](std::int64_t d, Floats v) __attribute__((always_inline)) {
        if constexpr (kCentred) {
          v = V::multiply(V::subtract(v, V::all(centre[d])), scale);
          square = V::add_product(v, v, square);
        } else {
          v = V::multiply(v, scale);
        }
        V::store(to + d * kTogether, v);
      };
      std::int64_t d = begin;
      for (; d + 4 <= end; d += 4) {
        Floats v[4];
        V::transpose4(first + d, stride, v);
        SPINLOCK_UNROLL
        for (int j = 0; j < 4; ++j) put(d + j, v[j]);
      }
      if (d < end && dim >= 4) {  // the last four once more, of which some were done
        Floats v[4];
        V::transpose4(first + dim - 4, stride, v);
        SPINLOCK_UNROLL
        for (int j = 1; j < 4; ++j) {
          if (dim - 4 + j >= d) put(dim - 4 + j, v[j]);
        }
      } else {
        for (; d < end; ++d) {
          alignas(64) float column[V::kLanes];
          for (int i = 0; i < V::kLanes; ++i) column[i] = first[i * stride + d];
          put(d, V::load(column));
        }
      }
      if constexpr (kCentred) V::store(squares + r, square);
    }
  }
}

}  // namespace
}  // namespace spinlock
