#pragma once

#include <cstdint>

#include "row_kernels.hpp"

// The definition itself: float64, d ascending, no fused multiply-add (the translation units that
// include this are compiled with -ffp-contract=off).

namespace spinlock {
namespace {

bool row_is_finite(const float* row, std::int64_t dim) {
  float sum = 0.0f;
  for (std::int64_t d = 0; d < dim; ++d) sum += row[d] * 0.0f;
  return sum == 0.0f;
}

// Four codes at a time: the sums are chains, and four of them overlap.
void true_distances(const float* row, const float* const codes[4], std::int64_t dim,
                    double out[4]) {
  double sums[4] = {};
  for (std::int64_t d = 0; d < dim; ++d) {
    const double x = row[d];
    for (int i = 0; i < 4; ++i) {
      const double difference = x - static_cast<double>(codes[i][d]);
      sums[i] += difference * difference;
    }
  }
  for (int i = 0; i < 4; ++i) out[i] = sums[i];
}

// Keeps the nearest of the codes given to it in ascending order, for one row.
struct TrueNearest {
  const float* row;
  std::int64_t dim;
  double best = __builtin_inf();
  std::int64_t chosen = 0;
  int waiting = 0;
  const float* codes[4] = {};
  std::int64_t ids[4] = {};

  void offer(const float* code, std::int64_t id) {
    codes[waiting] = code;
    ids[waiting++] = id;
    if (waiting == 4) decide();
  }

  void decide() {
    if (waiting == 0) return;
    for (int i = waiting; i < 4; ++i) codes[i] = codes[0];
    double distances[4];
    true_distances(row, codes, dim, distances);
    for (int i = 0; i < waiting; ++i) {
      if (distances[i] < best) {  // false for NaN
        best = distances[i];
        chosen = ids[i];
      }
    }
    waiting = 0;
  }
};

typedef double EightDoubles __attribute__((vector_size(64)));
typedef std::int64_t EightInts __attribute__((vector_size(64)));

// All kept codes for up to kTileRows rows, eight rows in lanes. `memory`: 8 * D doubles.
void true_nearest_rows(const CodebookPanels& panels, const float* const* rows, int count,
                       float* memory, std::int64_t* chosen) {
  auto* const lanes = reinterpret_cast<double*>(memory);
  for (int r = 0; r < count; r += 8) {
    for (std::int64_t d = 0; d < panels.dim; ++d) {
      for (int i = 0; i < 8; ++i) lanes[d * 8 + i] = rows[r + i < count ? r + i : r][d];
    }
    EightDoubles best = {};
    best += __builtin_inf();
    EightInts position = {};
    for (std::int64_t k = 0; k < panels.kept; k += 4) {
      const float* codes[4];
      for (int i = 0; i < 4; ++i) {
        const std::int64_t other = k + i < panels.kept ? k + i : k;
        codes[i] = panels.codes + panels.id(other) * panels.stride;
      }
      EightDoubles sums[4] = {};
      for (std::int64_t d = 0; d < panels.dim; ++d) {
        EightDoubles x;
        __builtin_memcpy(&x, lanes + d * 8, sizeof x);
        for (int i = 0; i < 4; ++i) {
          const EightDoubles difference = x - static_cast<double>(codes[i][d]);
          sums[i] += difference * difference;
        }
      }
      for (int i = 0; i < 4; ++i) {
        const EightInts nearer = sums[i] < best;
        best = nearer ? sums[i] : best;
        position = nearer ? EightInts{} + (k + i) : position;
      }
    }
    for (int i = 0; i < 8 && r + i < count; ++i) chosen[r + i] = panels.id(position[i]);
  }
}

}  // namespace
}  // namespace spinlock
