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

  // The rows as they are, if they fill their vectors; otherwise `copies` says where they are copied to. By
  // reference: vectors of a Rows that was just written member by member take dozens of cycles to read.
  const Rows& in_whole_vectors(const Rows& rows, Rows& copies) const {
    if (rows.count % V::kLanes == 0) return rows;
    for (std::int64_t i = 0; i < rows.count; ++i) copy(rows.data + i * rows.stride, i);
    copies = filled(rows.count);
    return copies;
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

// 4 * fours dims of `count` rows, whole vectors of them; |.|^2 of dims 0 .. goes to `squares`, that of later
// ones is added. A function of its own: within a larger one addresses do not stay in registers.
template <bool kCentred>
__attribute__((noinline)) void load_fours(const float* rows, std::int64_t stride, std::int64_t count,
                                          const CodebookPanels& panels, std::int64_t first_dim,
                                          std::int64_t fours, float* tile, float* squares) {
  const Floats scale = V::all(panels.scale);
  const float* const offsets = kCentred ? panels.offset + first_dim : nullptr;
  for (std::int64_t r = 0; r < count; r += V::kLanes, rows += V::kLanes * stride) {
    // Two sums: one chain of additions would set the pace.
    Floats square[2] = {V::all(0.0f), V::all(0.0f)};
    float* to = tile + in_tile(static_cast<int>(r), panels.dim) + first_dim * kTogether;
    const float* from = rows + first_dim;
    for (std::int64_t d = 0; d < 4 * fours; d += 4, from += 4, to += 4 * kTogether) {
      Floats v[4];
      load_four<kCentred>(from, stride, scale, kCentred ? offsets + d : nullptr, v);
      SPINLOCK_UNROLL
      for (int j = 0; j < 4; ++j) {
        V::store(to + j * kTogether, v[j]);
        if constexpr (kCentred) square[j % 2] = V::add_product(v[j], v[j], square[j % 2]);
      }
    }
    if constexpr (kCentred) {
      Floats sum = V::add(square[0], square[1]);
      if (first_dim > 0) sum = V::add(V::load(squares + r), sum);
      V::store(squares + r, sum);
    }
  }
}

// The last `rest` dims of V::kLanes rows, fewer than four.
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

// All dims in fours, and lines of what comes next with each cache line of the rows: all of them at
// once would wait for each other.
template <bool kCentred>
__attribute__((noinline)) void load_fetching(const Rows& rows, const CodebookPanels& panels,
                                             float* tile, float* squares) {
  const std::int64_t dim = panels.dim, stride = rows.stride;
  const Upcoming next = rows.next;
  const bool stretch = next.stride == 0;
  const std::int64_t line_stride = stretch ? kLine : next.stride;
  for (std::int64_t begin = 0; begin < dim; begin += kLine) {
    const std::int64_t width = kLine < dim - begin ? kLine : dim - begin;
    const auto lines =
        static_cast<int>(stretch ? (width * V::kLanes + kLine - 1) / kLine : V::kLanes);
    for (int r = 0; r < rows.count; r += V::kLanes) {
      if (r + V::kLanes <= next.rows) {
        const float* line =
            next.data + (stretch ? begin * next.rows + r * width : begin + r * next.stride);
        for (int i = 0; i < lines; ++i, line += line_stride) __builtin_prefetch(line, 0, 2);
      }
      load_fours<kCentred>(rows.data + r * stride, stride, V::kLanes, panels, begin, width / 4,
                           tile + in_tile(r, dim), kCentred ? squares + r : nullptr);
    }
  }
}

// A tile of up to kRows rows, times scale and, if centred, moved by the offsets; |.|^2 of each goes to
// `squares` then. Rows are read in whole vectors: those that fill up the last one must exist.
template <bool kCentred>
SPINLOCK_INLINE void load_tile(const Rows& rows, const CodebookPanels& panels, float* tile,
                               float* squares, bool fetches = true) {
  if (fetches && rows.next.rows > 0) {
    load_fetching<kCentred>(rows, panels, tile, squares);
  } else {
    load_fours<kCentred>(rows.data, rows.stride, rows.count, panels, 0, panels.dim / 4, tile,
                         squares);
  }
  const auto rest = static_cast<int>(panels.dim % 4);
  for (int r = 0; rest != 0 && r < rows.count; r += V::kLanes) {
    load_rest<kCentred>(rows.data + r * rows.stride, rows.stride, panels, rest,
                        tile + in_tile(r, panels.dim), kCentred ? squares + r : nullptr);
  }
}

}  // namespace
}  // namespace spinlock
