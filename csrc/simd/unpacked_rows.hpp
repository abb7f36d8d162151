#pragma once

#include <cstdint>

#include "simd/few_rows.hpp"
#include "simd/row_tile.hpp"
#include "simd/truth.hpp"

// Lookups of so few rows that codes are read as they lie in memory, once for all of them: panels
// would cost more than they save. Distances are those of the direct form, which needs no centre.

namespace spinlock {
namespace {

// Most rows that go through the codes together with dims in lanes; as many codes as fill up a vector
// of sums go with them.
constexpr int kAcrossRows = V::kLanes >= 16 ? 4 : 2;
constexpr int kMostAcross = 32;
// More undecided rows than this are decided by one more pass over the codes for all of them.
constexpr int kFewOpen = 4;

// A code that is not finite is never chosen, and must not hide others from a least distance.
SPINLOCK_INLINE Floats infinite_if_nan(Floats distance) {
  return V::least(distance, V::all(kInfinity));
}

// |x - c|^2 of kN codes for kVectors vectors of rows of a tile.
template <int kN, int kVectors>
SPINLOCK_INLINE void tile_distances(const float* tile, const float* codes, std::int64_t stride,
                                    std::int64_t dim, Floats (&sums)[kN][kVectors]) {
  SPINLOCK_UNROLL
  for (int i = 0; i < kN; ++i) {
    SPINLOCK_UNROLL
    for (int j = 0; j < kVectors; ++j) sums[i][j] = V::all(0.0f);
  }
  for (std::int64_t d = 0; d < dim; ++d, tile += kTogether) {
    Floats x[kVectors];
    SPINLOCK_UNROLL
    for (int j = 0; j < kVectors; ++j) x[j] = V::load(tile + j * V::kLanes);
    SPINLOCK_UNROLL
    for (int i = 0; i < kN; ++i) {
      const Floats c = V::all(codes[i * stride + d]);
      SPINLOCK_UNROLL
      for (int j = 0; j < kVectors; ++j) {
        const Floats difference = V::subtract(x[j], c);
        sums[i][j] = V::add_product(difference, difference, sums[i][j]);
      }
    }
  }
}

template <int kN, int kVectors, typename Keep>
SPINLOCK_INLINE void measure_and_keep(const CodebookPanels& panels, const float* tile, Keep& keep,
                                      int row, std::int64_t first) {
  Floats sums[kN][kVectors];
  tile_distances<kN, kVectors>(tile + in_tile(row, panels.dim),
                               panels.codes + first * panels.stride, panels.stride, panels.dim,
                               sums);
  SPINLOCK_UNROLL
  for (int i = 0; i < kN; ++i) {
    SPINLOCK_UNROLL
    for (int j = 0; j < kVectors; ++j) sums[i][j] = infinite_if_nan(sums[i][j]);
  }
  keep.take(sums, row, static_cast<std::int32_t>(first));
}

// All codes against kVectors vectors of rows that begin at `row`.
template <int kVectors, typename Keep>
__attribute__((noinline)) void scan_unpacked(const CodebookPanels& panels, const float* tile,
                                             int row, Keep keep) {
  std::int64_t k = 0;
  for (; k + kCodes <= panels.num_codes; k += kCodes) {
    measure_and_keep<kCodes, kVectors>(panels, tile, keep, row, k);
  }
  for (; k < panels.num_codes; ++k) measure_and_keep<1, kVectors>(panels, tile, keep, row, k);
}

// What each lane of sums has seen of the codes: lane r * kLanes / R + c has row r of R and every
// code at place c of those that go together.
struct Lanes {
  alignas(64) float best[V::kLanes];
  alignas(64) float second[V::kLanes];
  alignas(64) std::int32_t position[V::kLanes];

  void clear() {
    V::store(best, V::all(kInfinity));
    V::store(second, V::all(kInfinity));
    V::store_ints(position, V::all_ints(0));
  }

  SPINLOCK_INLINE void take(Floats distance, std::int32_t first) {
    const Floats before = V::load(best);
    V::store(second, V::least(V::most(distance, before), V::load(second)));
    const V::Mask nearer = V::below(distance, before);
    V::store_ints(position, V::choose(nearer, V::all_ints(first), V::load_ints(position)));
    V::store(best, V::least(distance, before));
  }
};

class UnpackedRows {
 public:
  // `memory`: lookup_floats, for two tiles of rows or the distances of all codes.
  UnpackedRows(const CodebookPanels& panels, float* memory)
      : panels_(panels), memory_(memory), copies_{memory + kRows * panels.dim, panels.dim} {}

  void run(const Rows& rows, std::int32_t* out) {
    for (std::int64_t first = 0; first < rows.count; first += kRows) {
      const std::int64_t count = rows.count - first < kRows ? rows.count - first : kRows;
      const Rows part{rows.data + first * rows.stride, rows.stride, count};
      ranking_.clear();
      if (!across_pays(count)) {
        rank_tile(part);
      } else if (count == 1) {
        rank_across<1>(part);
      } else {
        rank_across<kAcrossRows>(part);
      }
      settle(part, out + first);
    }
  }

 private:
  // Dims in lanes cost a row one step per vector of dims and code, and one and a half to add up the
  // lanes; rows in lanes one step per dim and code.
  bool across_pays(std::int64_t count) const {
    if (count > kMostAcross) return false;
    const std::int64_t vectors = (panels_.dim + V::kLanes - 1) / V::kLanes;
    const std::int64_t rows =
        count == 1 ? 1 : (count + kAcrossRows - 1) / kAcrossRows * kAcrossRows;
    const std::int64_t tile_vectors = (count + V::kLanes - 1) / V::kLanes;
    return rows * (2 * vectors + 3) < 2 * panels_.dim * tile_vectors;
  }

  void rank_tile(const Rows& rows) {
    Rows copies;
    load_tile<false>(copies_.in_whole_vectors(rows, copies), panels_, memory_, nullptr);
    ranking_.relative = direct_relative(panels_.dim);
    for (int r = 0; r < kRows; r += V::kLanes) {
      V::store(ranking_.margin + r, V::all(direct_absolute(panels_.dim)));
    }
    scan(static_cast<int>(rows.count), Rank<true, true>{ranking_});
  }

  // All codes against the rows of the tile, in vectors no wider than they need.
  template <typename Keep>
  void scan(int count, Keep keep) const {
    constexpr int kWhole = V::kRowVectors;
    for (int row = 0; row < count; row += kWhole * V::kLanes) {
      const int vectors = (count - row + V::kLanes - 1) / V::kLanes;
      if (vectors == 1) {
        scan_unpacked<1>(panels_, memory_, row, keep);
      } else if (kWhole > 2 && vectors == 2) {
        scan_unpacked<2>(panels_, memory_, row, keep);
      } else if (kWhole > 3 && vectors == 3) {
        scan_unpacked<3>(panels_, memory_, row, keep);
      } else {
        scan_unpacked<kWhole>(panels_, memory_, row, keep);
      }
    }
  }

  template <int kR>
  void rank_across(const Rows& rows) {
    constexpr int kC = V::kLanes / kR;
    const auto count = static_cast<int>(rows.count);
    const int groups = (count + kR - 1) / kR;
    const float* row[kMostAcross];
    for (int i = 0; i < groups * kR; ++i) {
      row[i] = rows.data + (i < count ? i : count - 1) * rows.stride;
    }
    for (int g = 0; g < groups; ++g) lanes_[g].clear();
    std::int64_t k = 0;
    for (; k + kC <= panels_.num_codes; k += kC) {
      for (int g = 0; g < groups; ++g) {
        lanes_[g].take(across<kR>(row + g * kR, k, kC), static_cast<std::int32_t>(k));
      }
    }
    const auto left = static_cast<int>(panels_.num_codes - k);
    for (int g = 0; left > 0 && g < groups; ++g) {
      alignas(64) float distances[V::kLanes];
      V::store(distances, across<kR>(row + g * kR, k, left));
      for (int i = 0; i < V::kLanes; ++i) {
        if (i % kC >= left) distances[i] = kInfinity;
      }
      lanes_[g].take(V::load(distances), static_cast<std::int32_t>(k));
    }
    for (int i = 0; i < count; ++i) merge<kR>(i);
  }

  // Distances of kR rows to codes k .. k + count - 1, row by row.
  template <int kR>
  SPINLOCK_INLINE Floats across(const float* const* rows, std::int64_t k, int count) const {
    constexpr int kC = V::kLanes / kR;
    const float* codes[kC];
    for (int c = 0; c < kC; ++c) {
      codes[c] = panels_.codes + (k + (c < count ? c : 0)) * panels_.stride;
    }
    Floats sums[V::kLanes];
    SPINLOCK_UNROLL
    for (int i = 0; i < V::kLanes; ++i) sums[i] = V::all(0.0f);
    const auto add = [&sums](const Floats* x, const Floats* c) __attribute__((always_inline)) {
      SPINLOCK_UNROLL
      for (int i = 0; i < V::kLanes; ++i) {
        const Floats difference = V::subtract(x[i / kC], c[i % kC]);
        sums[i] = V::add_product(difference, difference, sums[i]);
      }
    };
    Floats x[kR], c[kC];
    std::int64_t d = 0;
    for (; d + V::kLanes <= panels_.dim; d += V::kLanes) {
      SPINLOCK_UNROLL
      for (int i = 0; i < kR; ++i) x[i] = V::load_any(rows[i] + d);
      SPINLOCK_UNROLL
      for (int i = 0; i < kC; ++i) c[i] = V::load_any(codes[i] + d);
      add(x, c);
    }
    if (d < panels_.dim) {
      const auto rest = static_cast<int>(panels_.dim - d);
      SPINLOCK_UNROLL
      for (int i = 0; i < kR; ++i) x[i] = V::load_first(rows[i] + d, rest);
      SPINLOCK_UNROLL
      for (int i = 0; i < kC; ++i) c[i] = V::load_first(codes[i] + d, rest);
      add(x, c);
    }
    return infinite_if_nan(V::sum_each(sums));
  }

  // Row i's lanes into its ranking. Equal bests leave the row undecided, so that nobody asks for
  // their order.
  template <int kR>
  void merge(int i) {
    constexpr int kC = V::kLanes / kR;
    const Lanes& lanes = lanes_[i / kR];
    const int first = i % kR * kC;
    float best = kInfinity, second = kInfinity;
    for (int c = 0; c < kC; ++c) {
      const float lane_best = lanes.best[first + c], lane_second = lanes.second[first + c];
      second = lane_second < second ? lane_second : second;
      const float worse = lane_best < best ? best : lane_best;
      second = worse < second ? worse : second;
      if (lane_best < best) {
        best = lane_best;
        ranking_.position[i] = lanes.position[first + c] + c;
      }
    }
    ranking_.best[i] = best;
    ranking_.second[i] = second;
  }

  // Writes the codes of rows that are decided, and decides the others.
  void settle(const Rows& rows, std::int32_t* out) {
    int open[kRows], count = 0;
    for (int i = 0; i < static_cast<int>(rows.count); ++i) {
      candidates_.limit[i] = direct_limit(ranking_.best[i], panels_.dim);
      if (ranking_.second[i] > candidates_.limit[i]) {
        out[i] = ranking_.position[i];
      } else if (row_is_finite(rows.data + i * rows.stride, panels_.dim)) {
        open[count++] = i;
      } else {
        out[i] = kSkipped;
      }
    }
    if (count > kFewOpen && compare_open(rows, open, count, out)) return;
    for (int n = 0; n < count; ++n) {
      nearest_one(panels_, rows.data + open[n] * rows.stride, memory_, out + open[n]);
    }
  }

  // Codes within the limits of the open rows, compared in the form of the truth; false if they are
  // too many to be listed.
  bool compare_open(const Rows& rows, const int* open, int count, std::int32_t* out) {
    TrueNearest nearest[kRows];
    float limits[kRows];
    for (int n = 0; n < count; ++n) limits[n] = candidates_.limit[open[n]];
    for (int r = 0; r < kRows; ++r) candidates_.limit[r] = -1.0f;
    for (int n = 0; n < count; ++n) {
      if (!(limits[n] < kInfinity)) return false;
      candidates_.limit[open[n]] = limits[n];
      nearest[open[n]] = {.row = rows.data + open[n] * rows.stride, .dim = panels_.dim};
    }
    candidates_.count = 0;
    candidates_.overflow = false;
    Rows copies;
    load_tile<false>(copies_.in_whole_vectors(rows, copies), panels_, memory_, nullptr);
    scan(static_cast<int>(rows.count), Collect{candidates_, static_cast<int>(rows.count)});
    if (candidates_.overflow) return false;
    for (int c = 0; c < candidates_.count; ++c) {
      const std::int64_t id = candidates_.position[c];
      nearest[candidates_.row[c]].offer(panels_.codes + id * panels_.stride, id);
    }
    for (int n = 0; n < count; ++n) {
      nearest[open[n]].decide();
      out[open[n]] = static_cast<std::int32_t>(nearest[open[n]].chosen);
    }
    return true;
  }

  const CodebookPanels& panels_;
  float* memory_;  // a tile, or distances
  RowCopies copies_;
  Ranking ranking_;
  Candidates candidates_;
  Lanes lanes_[kMostAcross / kAcrossRows];
};

void nearest_unpacked(const CodebookPanels& panels, const Rows& rows, float* memory,
                      std::int32_t* out) {
  UnpackedRows(panels, memory).run(rows, out);
}

}  // namespace
}  // namespace spinlock
