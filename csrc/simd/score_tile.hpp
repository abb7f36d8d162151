#pragma once

#include <cstdint>
#include <type_traits>

#include "simd/row_tile.hpp"

// Tiles of rows scored against panels, and what is kept of the scores.

namespace spinlock {
namespace {

// Codes whose positions fit into 5 bits of a score. That changes a score by 31 units in the last place
// at most, and each of two by a little less than half of this times itself.
constexpr std::int64_t kFewCodes = 32;
constexpr float kPositionShare = 0x1p-17f;

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

// Lines that lie side by side, of which a pass over the dims fetches `count` with each dim.
struct NextLines {
  const float* data = nullptr;
  int count = 0;
};

// Scores of kN codes for kVectors vectors of rows: |z|^2 / 2 - y.z, or |x - c|^2.
template <int kN, int kVectors, bool kDirect, bool kFetch>
SPINLOCK_INLINE void score(const float* tile, const float* panel, std::int64_t dim,
                           const float* half_norms, NextLines lines,
                           Floats (&sums)[kN][kVectors]) {
  SPINLOCK_UNROLL
  for (int i = 0; i < kN; ++i) {
    const Floats start = V::all(kDirect ? 0.0f : half_norms[i]);
    SPINLOCK_UNROLL
    for (int j = 0; j < kVectors; ++j) sums[i][j] = start;
  }
  for (std::int64_t d = 0; d < dim; ++d, tile += kTogether, panel += kN) {
    if constexpr (kFetch) {
      for (int i = 0; i < lines.count; ++i, lines.data += kLine) __builtin_prefetch(lines.data, 0, 2);
    }
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

// The same for up to kFewCodes codes: the position takes the place of the last bits of a score, so that
// the least of them brings its own. Ranking::best and second hold such scores, position nothing.
struct RankFew {
  Ranking& ranking;

  template <int kN, int kVectors>
  SPINLOCK_INLINE void take(const Floats (&sums)[kN][kVectors], int row, std::int32_t first) {
    SPINLOCK_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      const int r = row + j * V::kLanes;
      Floats best = V::load(ranking.best + r), second = V::load(ranking.second + r);
      SPINLOCK_UNROLL
      for (int i = 0; i < kN; ++i) {
        const Floats s = V::with_last_bits<kFewCodes - 1>(sums[i][j], V::all_ints(first + i));
        second = V::least(V::most(s, best), second);
        best = V::least(s, best);
      }
      V::store(ranking.best + r, best);
      V::store(ranking.second + r, second);
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

template <int kN, int kVectors, bool kDirect, bool kFetch, typename Keep>
SPINLOCK_INLINE void score_and_keep(const float* tile, const float* panel, std::int64_t dim,
                                    const float* half_norms, NextLines lines, Keep& keep,
                                    int row, std::int32_t first) {
  Floats sums[kN][kVectors];
  score<kN, kVectors, kDirect, kFetch>(tile + in_tile(row, dim), panel, dim, half_norms, lines, sums);
  keep.take(sums, row, first);
}

// All kept codes against kVectors vectors of rows that begin at `row`. With kFetch, `next` is a stretch
// of memory as large as the tile, of which these rows fetch their share, spread over all panels: between
// multiply-adds there is more room for that than where a tile is loaded.
template <int kVectors, bool kDirect, bool kFetch, typename Keep>
__attribute__((noinline)) void scan_rows(const CodebookPanels& panels, const float* tile, int row,
                                         const float* next, Keep keep) {
  const float* const codes = kDirect ? panels.direct : panels.centred;
  const std::int64_t dim = panels.dim;
  NextLines lines;
  const float* end = nullptr;
  if constexpr (kFetch) {
    constexpr std::int64_t kTimes = kVectors * V::kLanes < kLine ? 1 : kVectors * V::kLanes / kLine;
    const std::int64_t all = (panels.kept + kCodes - 1) / kCodes;
    lines = {next + row * dim, static_cast<int>((kTimes + all - 1) / all)};
    end = lines.data + kVectors * V::kLanes * dim;
  }
  std::int64_t k = 0;
  for (; k + kCodes <= panels.kept; k += kCodes) {
    score_and_keep<kCodes, kVectors, kDirect, kFetch>(tile, codes + k * dim, dim,
                                                      panels.half_norms + k, lines, keep, row,
                                                      static_cast<std::int32_t>(k));
    if constexpr (kFetch) {
      lines.data += lines.count * kLine * dim;
      if (lines.data >= end) lines.count = 0;
    }
  }
  const float* const panel = codes + k * dim;
  const float* const norms = panels.half_norms + k;
  const auto rest = [&](auto count) __attribute__((always_inline)) {
    score_and_keep<count(), kVectors, kDirect, kFetch>(tile, panel, dim, norms, lines, keep, row,
                                                       static_cast<std::int32_t>(k));
  };
  switch (panels.kept - k) {
    case 1: rest(std::integral_constant<int, 1>()); break;
    case 2: rest(std::integral_constant<int, 2>()); break;
    case 3: rest(std::integral_constant<int, 3>()); break;
    case 4: rest(std::integral_constant<int, 4>()); break;
    case 5: rest(std::integral_constant<int, 5>()); break;
    default: break;
  }
}

// All kept codes against the first `count` rows of the tile, in vectors no wider than they need.
template <bool kDirect, bool kFetch, typename Keep>
void scan(const CodebookPanels& panels, const float* tile, int count, const float* next,
          Keep keep) {
  constexpr int kWhole = V::kRowVectors;
  int row = 0;
  for (; row + kWhole * V::kLanes <= count; row += kWhole * V::kLanes) {
    scan_rows<kWhole, kDirect, kFetch>(panels, tile, row, next, keep);
  }
  if (row >= count) return;
  const int vectors = (count - row + V::kLanes - 1) / V::kLanes;
  if (vectors == 1) {
    scan_rows<1, kDirect, false>(panels, tile, row, next, keep);
  } else if (kWhole > 2 && vectors == 2) {
    scan_rows<2, kDirect, false>(panels, tile, row, next, keep);
  } else {
    scan_rows<kWhole, kDirect, false>(panels, tile, row, next, keep);
  }
}

}  // namespace
}  // namespace spinlock
