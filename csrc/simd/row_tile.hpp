#pragma once

#include <cstdint>

#include "row_kernels.hpp"

// Rows in SIMD lanes: loading a tile, scoring it against panels, and what is kept of the scores.
// Included, after `Vectors`, by one translation unit per instruction set.

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
constexpr float kInfinity = __builtin_inff();

// Best and second best score of each row, and the position of the best. A score that is worse than
// the best one by more than the row's margin may be left out.
struct Ranking {
  alignas(64) float margin[kRows];  // beside `relative` times the best score
  alignas(64) float limit[kRows];   // best + margin
  alignas(64) float best[kRows];
  alignas(64) float second[kRows];
  alignas(64) std::int32_t position[kRows];
  float relative;  // direct form only

  void clear() {
    for (int r = 0; r < kRows; r += V::kLanes) {
      V::store(limit + r, V::all(kInfinity));
      V::store(best + r, V::all(kInfinity));
      V::store(second + r, V::all(kInfinity));
      V::store_ints(position + r, V::all_ints(0));
    }
  }
};

// (row, position) pairs whose score a limit per row admits, in ascending position for each row.
struct Candidates {
  static constexpr int kCapacity = 16 * kRows;
  alignas(64) float limit[kRows];
  std::int32_t row[kCapacity];
  std::int32_t position[kCapacity];
  int count = 0;
  bool overflow = false;
};

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
// Rows are read in whole vectors: those that fill up the last one must exist.
template <bool kCentred>
SPINLOCK_INLINE void load_tile(const Rows& rows, const CodebookPanels& panels, float* tile,
                               float* squares) {
  constexpr std::int64_t kLine = 16;  // each cache line of a row is read at one go
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

// Scores of kN codes for kVectors vectors of rows: |z|^2 / 2 - y.z, or |x - c|^2.
template <int kN, int kVectors, bool kDirect>
SPINLOCK_INLINE void score(const float* tile, const float* panel, std::int64_t dim,
                           const float* half_norms, Floats (&sums)[kN][kVectors]) {
  SPINLOCK_UNROLL
  for (int i = 0; i < kN; ++i) {
    const Floats start = V::all(kDirect ? 0.0f : half_norms[i]);
    SPINLOCK_UNROLL
    for (int j = 0; j < kVectors; ++j) sums[i][j] = start;
  }
  for (std::int64_t d = 0; d < dim; ++d, tile += kTogether, panel += kN) {
    Floats x[kVectors];
    SPINLOCK_UNROLL
    for (int j = 0; j < kVectors; ++j) x[j] = V::load(tile + j * V::kLanes);
    SPINLOCK_UNROLL
    for (int i = 0; i < kN; ++i) {
      const Floats c = V::all(panel[i]);
      SPINLOCK_UNROLL
      for (int j = 0; j < kVectors; ++j) {
        if constexpr (kDirect) {
          const Floats difference = V::subtract(x[j], c);
          sums[i][j] = V::add_product(difference, difference, sums[i][j]);
        } else {
          sums[i][j] = V::subtract_product(c, x[j], sums[i][j]);
        }
      }
    }
  }
}

// Keeps best and second best. With many codes few scores come near the best, so that a branch on the
// panel's least one pays; with few codes it only mispredicts.
template <bool kManyCodes, bool kDirect>
struct Rank {
  Ranking& ranking;

  template <int kN, int kVectors>
  SPINLOCK_INLINE void take(const Floats (&sums)[kN][kVectors], int row, std::int32_t first) {
    SPINLOCK_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      const int r = row + j * V::kLanes;
      if constexpr (kManyCodes) {
        Floats least = sums[0][j];
        SPINLOCK_UNROLL
        for (int i = 1; i < kN; ++i) least = V::least(least, sums[i][j]);
        if (!V::any(V::below(least, V::load(ranking.limit + r)))) continue;
      }
      Floats best = V::load(ranking.best + r), second = V::load(ranking.second + r);
      V::Ints position = V::load_ints(ranking.position + r);
      SPINLOCK_UNROLL
      for (int i = 0; i < kN; ++i) {
        const Floats s = sums[i][j];
        position = V::choose(V::below(s, best), V::all_ints(first + i), position);
        second = V::least(V::most(s, best), second);
        best = V::least(s, best);
      }
      if constexpr (kManyCodes) {
        Floats limit = V::add(best, V::load(ranking.margin + r));
        if constexpr (kDirect) limit = V::add_product(best, V::all(ranking.relative), limit);
        V::store(ranking.limit + r, limit);
      }
      V::store(ranking.best + r, best);
      V::store(ranking.second + r, second);
      V::store_ints(ranking.position + r, position);
    }
  }
};

// Lists every score within its row's limit; NaN is within any.
struct Collect {
  Candidates& found;
  int count;  // rows that matter

  template <int kN, int kVectors>
  SPINLOCK_INLINE void take(const Floats (&sums)[kN][kVectors], int row, std::int32_t first) {
    SPINLOCK_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      const int r = row + j * V::kLanes;
      const Floats limit = V::load(found.limit + r);
      Floats least = sums[0][j];
      SPINLOCK_UNROLL
      for (int i = 1; i < kN; ++i) least = V::least(least, sums[i][j]);
      // A NaN need not come through `least`: rows that matter have none, for they and the codes are
      // finite (unpacked codes that are not count as infinitely far), and so are their limits.
      if (!V::any(V::not_above(least, limit))) continue;
      SPINLOCK_UNROLL
      for (int i = 0; i < kN; ++i) add(V::bits(V::not_above(sums[i][j], limit)), r, first + i);
    }
  }

  void add(std::uint32_t bits, int row, std::int32_t position) {
    for (; bits != 0; bits &= bits - 1) {
      const int r = row + __builtin_ctz(bits);
      if (r >= count) return;
      if (found.count == Candidates::kCapacity) {
        found.overflow = true;
        return;
      }
      found.row[found.count] = r;
      found.position[found.count++] = position;
    }
  }
};

template <int kN, int kVectors, bool kDirect, typename Keep>
SPINLOCK_INLINE void score_and_keep(const float* tile, const float* panel, std::int64_t dim,
                                    const float* half_norms, Keep& keep, int row,
                                    std::int32_t first) {
  Floats sums[kN][kVectors];
  score<kN, kVectors, kDirect>(tile + in_tile(row, dim), panel, dim, half_norms, sums);
  keep.take(sums, row, first);
}

// All kept codes against kVectors vectors of rows that begin at `row`.
template <int kVectors, bool kDirect, typename Keep>
__attribute__((noinline)) void scan_rows(const CodebookPanels& panels, const float* tile, int row,
                                         Keep keep) {
  const float* const codes = kDirect ? panels.direct : panels.centred;
  const std::int64_t dim = panels.dim;
  std::int64_t k = 0;
  for (; k + kCodes <= panels.kept; k += kCodes) {
    score_and_keep<kCodes, kVectors, kDirect>(tile, codes + k * dim, dim, panels.half_norms + k,
                                              keep, row, static_cast<std::int32_t>(k));
  }
  const float* const panel = codes + k * dim;
  const float* const norms = panels.half_norms + k;
  const auto first = static_cast<std::int32_t>(k);
  switch (panels.kept - k) {
    case 1: score_and_keep<1, kVectors, kDirect>(tile, panel, dim, norms, keep, row, first); break;
    case 2: score_and_keep<2, kVectors, kDirect>(tile, panel, dim, norms, keep, row, first); break;
    case 3: score_and_keep<3, kVectors, kDirect>(tile, panel, dim, norms, keep, row, first); break;
    case 4: score_and_keep<4, kVectors, kDirect>(tile, panel, dim, norms, keep, row, first); break;
    case 5: score_and_keep<5, kVectors, kDirect>(tile, panel, dim, norms, keep, row, first); break;
    default: break;
  }
}

// All kept codes against the first `count` rows of the tile, in vectors no wider than they need.
template <bool kDirect, typename Keep>
void scan(const CodebookPanels& panels, const float* tile, int count, Keep keep) {
  constexpr int kWhole = V::kRowVectors;
  int row = 0;
  for (; row + kWhole * V::kLanes <= count; row += kWhole * V::kLanes) {
    scan_rows<kWhole, kDirect>(panels, tile, row, keep);
  }
  if (row >= count) return;
  const int vectors = (count - row + V::kLanes - 1) / V::kLanes;
  if (vectors == 1) {
    scan_rows<1, kDirect>(panels, tile, row, keep);
  } else if (kWhole > 2 && vectors == 2) {
    scan_rows<2, kDirect>(panels, tile, row, keep);
  } else {
    scan_rows<kWhole, kDirect>(panels, tile, row, keep);
  }
}

}  // namespace
}  // namespace spinlock
