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

// Dims of V::kLanes rows, times scale and, if centred, moved by `offset`.
template <bool kCentred>
SPINLOCK_INLINE Floats moved(Floats v, Floats scale, Floats offset) {
  return kCentred ? V::add_product(v, scale, offset) : V::multiply(v, scale);
}

// Four of them; `offsets` points to theirs.
template <bool kCentred>
SPINLOCK_INLINE void load_four(const float* rows, std::int64_t stride, Floats scale,
                               const float* offsets, Floats (&v)[4]) {
  const Floats by = kCentred ? V::repeat4(offsets) : V::all(0.0f);
  V::transpose4(rows, stride, [&](Floats z) __attribute__((always_inline)) {
    return moved<kCentred>(z, scale, by);
  }, v);
}

// The first 4 * fours dims; |.|^2 of them is added to `squares`. A function of its own: within a larger
// one addresses do not stay in registers.
template <bool kCentred>
__attribute__((noinline)) void load_fours(const float* rows, std::int64_t stride, float scale,
                                          const float* offsets, std::int64_t fours, float* to,
                                          float* squares) {
  const Floats all_scale = V::all(scale);
  // Two sums: one chain of additions would set the pace.
  Floats square[2] = {V::all(0.0f), V::all(0.0f)};
  for (std::int64_t d = 0; d < 4 * fours; d += 4, rows += 4, to += 4 * kTogether) {
    Floats v[4];
    load_four<kCentred>(rows, stride, all_scale, kCentred ? offsets + d : nullptr, v);
    SPINLOCK_UNROLL
    for (int j = 0; j < 4; ++j) {
      V::store(to + j * kTogether, v[j]);
      if constexpr (kCentred) square[j % 2] = V::add_product(v[j], v[j], square[j % 2]);
    }
  }
  if constexpr (kCentred) {
    V::store(squares, V::add(V::load(squares), V::add(square[0], square[1])));
  }
}

// The last `rest` dims, fewer than four.
template <bool kCentred>
void load_rest(const float* rows, std::int64_t stride, const CodebookPanels& panels, int rest,
               float* to, float* squares) {
  const std::int64_t dim = panels.dim;
  const Floats scale = V::all(panels.scale);
  Floats v[4];
  if (dim >= 4) {  // the last four once more
    load_four<kCentred>(rows + dim - 4, stride, scale,
                        kCentred ? panels.offset + dim - 4 : nullptr, v);
  } else {
    for (int j = 0; j < rest; ++j) {
      alignas(64) float column[V::kLanes];
      for (int i = 0; i < V::kLanes; ++i) column[i] = rows[i * stride + j];
      v[4 - rest + j] = moved<kCentred>(V::load(column), scale,
                                        V::all(kCentred ? panels.offset[j] : 0.0f));
    }
  }
  for (int j = 4 - rest; j < 4; ++j) {
    V::store(to + (dim - 4 + j) * kTogether, v[j]);
    if constexpr (kCentred) V::store(squares, V::add_product(v[j], v[j], V::load(squares)));
  }
}

// A tile of up to kRows rows, times scale and, if centred, moved by the offsets; |.|^2 of each goes to
// `squares` then. Rows are read in whole vectors, of which those that fill up the last one must exist.
template <bool kCentred>
void load_tile(const Rows& rows, const CodebookPanels& panels, float* tile, float* squares) {
  const std::int64_t dim = panels.dim, stride = rows.stride;
  const Upcoming next = rows.next;
  const bool stretch = next.stride == 0;
  const std::int64_t line_stride = stretch ? kLine : next.stride;
  for (int r = 0; r < rows.count; r += V::kLanes) {
    const float* const first = rows.data + r * stride;
    float* const to = tile + in_tile(r, dim);
    float* const square = kCentred ? squares + r : nullptr;
    if constexpr (kCentred) V::store(square, V::all(0.0f));
    const bool fetches = r + V::kLanes <= next.rows;
    // What comes next, a few lines at a time: all at once would wait for each other.
    const std::int64_t some = fetches ? kLine : dim;
    for (std::int64_t begin = 0; begin < dim; begin += some) {
      const std::int64_t width = some < dim - begin ? some : dim - begin;
      if (fetches) {
        const auto lines =
            static_cast<int>(stretch ? (width * V::kLanes + kLine - 1) / kLine : V::kLanes);
        const float* line =
            next.data + (stretch ? begin * next.rows + r * width : begin + r * next.stride);
        for (int i = 0; i < lines; ++i, line += line_stride) __builtin_prefetch(line, 0, 2);
      }
      load_fours<kCentred>(first + begin, stride, panels.scale,
                           kCentred ? panels.offset + begin : nullptr, width / 4,
                           to + begin * kTogether, square);
    }
    const auto rest = static_cast<int>(dim % 4);
    if (rest != 0) load_rest<kCentred>(first, stride, panels, rest, to, square);
  }
}

}  // namespace
}  // namespace spinlock
