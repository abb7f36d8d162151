#pragma once

#include <cstdint>

#include "simd/few_rows.hpp"
#include "simd/row_tile.hpp"

// A first pass in bfloat16, at twice the rate of float32: the least score of each group of codes,
// and then the truth among the groups that may hold it. Included where the machine has AVX512-BF16.

namespace spinlock {
namespace {

// Groups that a row may have to look into; beyond them it is compared with all codes.
constexpr int kMaxGroups = 16;
// Groups of a whole tile beyond which the first pass has not paid.
constexpr int kMaxTileGroups = 6 * kRows;
static_assert(kTogether == kRows, "the first pass reads a tile as [D][kRows]");

struct BriefRows {
  BriefRows(const CodebookPanels& codes, float* memory)
      : panels(codes),
        tile(reinterpret_cast<std::uint32_t*>(memory)),
        least(memory + (codes.dim + 1) / 2 * kRows) {}

  const CodebookPanels& panels;
  std::uint32_t* const tile;  // [ceil(D / 2)][kRows], pairs of -y
  float* const least;         // [groups][kRows]
  alignas(64) float residual[kRows];
  alignas(64) float limit[kRows];
  std::int32_t groups[kRows][kMaxGroups];
  int count[kRows];

  // From the float32 tile; `residual` becomes |y - bf16(y)|.
  void pack(const float* values) {
    const std::int64_t dim = panels.dim;
    for (int r = 0; r < kRows; r += 16) {
      __m512 squares = _mm512_setzero_ps();
      const auto half = [&](std::int64_t d) __attribute__((always_inline)) {
        const __m512 y = V::load(values + d * kRows + r);
        const __m512i bits =
            _mm512_maskz_cvtepu16_epi32(0xFFFF, __builtin_bit_cast(__m256i, _mm512_cvtneps_pbh(y)));
        const __m512 rest =
            _mm512_sub_ps(y, _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xFFFF, bits, 16)));
        squares = _mm512_fmadd_ps(rest, rest, squares);
        return _mm512_xor_si512(bits, _mm512_set1_epi32(0x8000));
      };
      for (std::int64_t d = 0; d < dim; d += 2) {
        const __m512i low = half(d);
        const __m512i high = d + 1 < dim ? half(d + 1) : _mm512_setzero_si512();
        _mm512_store_si512(tile + d / 2 * kRows + r,
                           _mm512_or_si512(low, _mm512_maskz_slli_epi32(0xFFFF, high, 16)));
      }
      V::store(residual + r, V::square_root(squares));
    }
  }

  template <int kN>
  SPINLOCK_INLINE void score(std::int64_t first, bool fresh, float* into, Floats (&best)[4]) const {
    const std::int64_t pairs = (panels.dim + 1) / 2;
    const std::uint32_t* codes = panels.brief + first * pairs;
    const std::uint32_t* rows = tile;
    Floats sums[kN][4];
    SPINLOCK_UNROLL
    for (int i = 0; i < kN; ++i) {
      const Floats start = V::all(panels.half_norms[first + i]);
      SPINLOCK_UNROLL
      for (int j = 0; j < 4; ++j) sums[i][j] = start;
    }
    for (std::int64_t p = 0; p < pairs; ++p, rows += kRows, codes += kN) {
      __m512bh x[4];
      SPINLOCK_UNROLL
      for (int j = 0; j < 4; ++j) {
        x[j] = __builtin_bit_cast(__m512bh, _mm512_load_si512(rows + j * 16));
      }
      SPINLOCK_UNROLL
      for (int i = 0; i < kN; ++i) {
        const auto c =
            __builtin_bit_cast(__m512bh, _mm512_set1_epi32(static_cast<std::int32_t>(codes[i])));
        SPINLOCK_UNROLL
        for (int j = 0; j < 4; ++j) sums[i][j] = _mm512_dpbf16_ps(sums[i][j], c, x[j]);
      }
    }
    SPINLOCK_UNROLL
    for (int j = 0; j < 4; ++j) {
      Floats lowest = sums[0][j];
      SPINLOCK_UNROLL
      for (int i = 1; i < kN; ++i) lowest = V::least(sums[i][j], lowest);
      best[j] = V::least(lowest, best[j]);
      if (!fresh) lowest = V::least(V::load(into + j * 16), lowest);
      V::store(into + j * 16, lowest);
    }
  }

  // Fills `least`; returns the number of groups. best + margin becomes the limit.
  __attribute__((noinline)) std::int64_t scan(const float* margin) {
    const std::int64_t kept = panels.kept, group = brief_panels_per_group(panels.dim);
    Floats best[4];
    for (Floats& b : best) b = V::all(kInfinity);
    std::int64_t panel = 0, k = 0;
    const auto into = [&] { return least + panel / group * kRows; };
    for (; k + kCodes <= kept; k += kCodes, ++panel) score<6>(k, panel % group == 0, into(), best);
    const bool fresh = panel % group == 0;
    switch (kept - k) {
      case 1: score<1>(k, fresh, into(), best); break;
      case 2: score<2>(k, fresh, into(), best); break;
      case 3: score<3>(k, fresh, into(), best); break;
      case 4: score<4>(k, fresh, into(), best); break;
      case 5: score<5>(k, fresh, into(), best); break;
      default: --panel;
    }
    for (int j = 0; j < 4; ++j) {
      V::store(limit + j * 16, V::add(best[j], V::load(margin + j * 16)));
    }
    return panel / group + 1;
  }

  // Lists the groups within each row's limit, none if that is NaN; false if the tile has too many.
  bool list(std::int64_t num_groups) {
    int total = 0;
    for (int& c : count) c = 0;
    for (std::int64_t g = 0; g < num_groups; ++g) {
      for (int r = 0; r < kRows; r += 16) {
        std::uint32_t bits = _mm512_cmp_ps_mask(V::load(least + g * kRows + r),
                                                V::load(limit + r), _CMP_LE_OQ);
        total += __builtin_popcount(bits);
        for (; bits != 0; bits &= bits - 1) {
          const int i = r + __builtin_ctz(bits);
          if (count[i] < kMaxGroups) groups[i][count[i]] = static_cast<std::int32_t>(g);
          ++count[i];
        }
      }
      if (total > kMaxTileGroups) return false;
    }
    return true;
  }

  // The truth among the codes of the groups listed for row i.
  std::int32_t choose(int i, const float* row) const {
    const std::int64_t codes_per_group = kCodes * brief_panels_per_group(panels.dim);
    FewCodes few(panels, row);
    for (int g = 0; g < count[i]; ++g) {
      const std::int64_t first = groups[i][g] * codes_per_group;
      const std::int64_t end = first + codes_per_group;
      few.offer(first, end < panels.kept ? end : panels.kept);
    }
    return static_cast<std::int32_t>(few.nearest());
  }
};

}  // namespace
}  // namespace spinlock
