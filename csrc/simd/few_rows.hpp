#pragma once

#include <cstdint>

#include "simd/row_tile.hpp"
#include "simd/truth.hpp"

// One row at a time, its dims in SIMD lanes, in the direct form.

namespace spinlock {
namespace {

constexpr std::int64_t kMaxCertifiedDim = 8192;

SPINLOCK_INLINE void few_distances(const float* row, const float* const codes[4], std::int64_t dim,
                                   float out[4]) {
  Floats sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = V::all(0.0f);
  std::int64_t d = 0;
  for (; d + V::kLanes <= dim; d += V::kLanes) {
    const Floats x = V::load_any(row + d);
    for (int i = 0; i < 4; ++i) {
      const Floats difference = V::subtract(x, V::load_any(codes[i] + d));
      sums[i] = V::add_product(difference, difference, sums[i]);
    }
  }
  if (d < dim) {
    const auto rest = static_cast<int>(dim - d);
    const Floats x = V::load_first(row + d, rest);
    for (int i = 0; i < 4; ++i) {
      const Floats difference = V::subtract(x, V::load_first(codes[i] + d, rest));
      sums[i] = V::add_product(difference, difference, sums[i]);
    }
  }
  for (int i = 0; i < 4; ++i) out[i] = V::sum(sums[i]);
}

SPINLOCK_INLINE float direct_relative(std::int64_t dim) {
  return dim <= kMaxCertifiedDim ? 2.2f * 0x1p-24f * static_cast<float>(dim + 8) : kInfinity;
}

SPINLOCK_INLINE float direct_absolute(std::int64_t dim) {
  return 0x1p-140f * static_cast<float>(dim + 8);
}

// What may be nearest, if `best` is the least float32 distance of the direct form.
SPINLOCK_INLINE float direct_limit(float best, std::int64_t dim) {
  return best + (best * direct_relative(dim) + direct_absolute(dim));
}

// The nearest of all codes to one finite row; `distances` holds num_codes floats.
void nearest_one(const CodebookPanels& panels, const float* row, float* distances,
                 std::int32_t* out) {
  const std::int64_t num_codes = panels.num_codes, dim = panels.dim;
  float best = kInfinity;
  for (std::int64_t k = 0; k < num_codes; k += 4) {
    const float* codes[4];
    float four[4];
    const std::int64_t count = num_codes - k < 4 ? num_codes - k : 4;
    for (std::int64_t i = 0; i < 4; ++i) {
      codes[i] = panels.codes + (k + (i < count ? i : 0)) * panels.stride;
    }
    few_distances(row, codes, dim, four);
    for (std::int64_t i = 0; i < count; ++i) {
      distances[k + i] = four[i];
      best = four[i] < best ? four[i] : best;
    }
  }
  const float within = direct_limit(best, dim);
  TrueNearest nearest{.row = row, .dim = dim};
  for (std::int64_t k = 0; k < num_codes; ++k) {
    if (!(distances[k] > within)) nearest.offer(panels.codes + k * panels.stride, k);
  }
  nearest.decide();
  *out = static_cast<std::int32_t>(nearest.chosen);
}

// The nearest of some kept codes, which come in ascending ranges.
class FewCodes {
 public:
  FewCodes(const CodebookPanels& panels, const float* row) : panels_(panels), row_(row) {}

  static constexpr int kCapacity = 512;

  // Positions first .. end - 1 of the kept codes; at most kCapacity in all.
  void offer(std::int64_t first, std::int64_t end) {
    for (std::int64_t k = first; k < end; k += 4) {
      const float* codes[4];
      const std::int64_t count = end - k < 4 ? end - k : 4;
      for (std::int64_t i = 0; i < 4; ++i) {
        codes[i] = panels_.codes + panels_.id(k + (i < count ? i : 0)) * panels_.stride;
      }
      few_distances(row_, codes, panels_.dim, distances_ + count_);
      for (std::int64_t i = 0; i < count; ++i) positions_[count_ + i] = static_cast<int>(k + i);
      count_ += static_cast<int>(count);
    }
  }

  std::int64_t nearest() const {
    float best = kInfinity;
    int winner = 0;
    for (int n = 0; n < count_; ++n) {
      if (distances_[n] < best) {
        best = distances_[n];
        winner = n;
      }
    }
    const float within = direct_limit(best, panels_.dim);
    int close = 0;
    for (int n = 0; n < count_; ++n) close += !(distances_[n] > within) ? 1 : 0;
    if (close == 1) return panels_.id(positions_[winner]);
    TrueNearest nearest{.row = row_, .dim = panels_.dim};
    for (int n = 0; n < count_; ++n) {
      if (distances_[n] > within) continue;
      const std::int64_t id = panels_.id(positions_[n]);
      nearest.offer(panels_.codes + id * panels_.stride, id);
    }
    nearest.decide();
    return nearest.chosen;
  }

 private:
  const CodebookPanels& panels_;
  const float* row_;
  int count_ = 0;
  float distances_[kCapacity + 4];
  int positions_[kCapacity + 4];
};

}  // namespace
}  // namespace spinlock
