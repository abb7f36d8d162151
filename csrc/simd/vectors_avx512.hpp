#pragma once

#include <immintrin.h>

#include <cstdint>

#include "simd/eight_lanes.hpp"

// Included by AVX-512 translation units only.
namespace spinlock {
namespace {

struct Vectors {
  static constexpr int kLanes = 16;
  static constexpr int kRowVectors = 4;  // with 6 codes: 24 sums in 32 registers
  using Floats = __m512;
  using Ints = __m512i;
  using Mask = __mmask16;

  static Floats load(const float* p) { return _mm512_load_ps(p); }
  static Floats load_any(const float* p) { return _mm512_loadu_ps(p); }
  static Floats load_first(const float* p, int count) {
    return _mm512_maskz_loadu_ps(first(count), p);
  }
  static void store(float* p, Floats v) { _mm512_store_ps(p, v); }
  static void store_any(float* p, Floats v) { _mm512_storeu_ps(p, v); }
  static void store_first(float* p, Floats v, int count) {
    _mm512_mask_storeu_ps(p, first(count), v);
  }
  static Ints load_ints(const std::int32_t* p) { return _mm512_load_si512(p); }
  static void store_ints(std::int32_t* p, Ints v) { _mm512_store_si512(p, v); }
  static void store_ints_any(std::int32_t* p, Ints v) { _mm512_storeu_si512(p, v); }
  static Floats all(float v) { return _mm512_set1_ps(v); }
  static Ints all_ints(std::int32_t v) { return _mm512_set1_epi32(v); }
  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats add_product(Floats a, Floats b, Floats sum) { return _mm512_fmadd_ps(a, b, sum); }
  static Floats subtract_product(Floats a, Floats b, Floats sum) {
    return _mm512_fnmadd_ps(a, b, sum);
  }
  // Masks of all lanes: GCC 12 warns of the undefined operand that the plain forms begin with.
  static Floats square_root(Floats v) { return _mm512_maskz_sqrt_ps(kAll, v); }
  // `b` where a comparison with NaN decides nothing.
  static Floats least(Floats a, Floats b) { return _mm512_maskz_min_ps(kAll, a, b); }
  static Floats most(Floats a, Floats b) { return _mm512_maskz_max_ps(kAll, a, b); }
  static Mask below(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static Mask not_above(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_NGT_UQ); }
  static Floats keep(Mask m, Floats v) { return _mm512_maskz_mov_ps(m, v); }  // 0 elsewhere
  static bool any(Mask m) { return m != 0; }
  static std::uint32_t bits(Mask m) { return m; }
  static Ints choose(Mask m, Ints yes, Ints no) { return _mm512_mask_mov_epi32(no, m, yes); }
  static Floats magnitude(Floats v) { return _mm512_abs_ps(v); }
  // `v` with `low` in place of the bits in kBits.
  template <std::int32_t kBits>
  static Floats with_last_bits(Floats v, Ints low) {
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(_mm512_castps_si512(v), all_ints(~kBits), low, 0xEA));
  }
  template <std::int32_t kBits>
  static Ints last_bits(Floats v) {
    return _mm512_and_si512(_mm512_castps_si512(v), all_ints(kBits));
  }
  static float sum(Floats v) {
    const __m256 eight =
        _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xFF, v, 0),
                                       _mm512_maskz_extractf32x8_ps(0xFF, v, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
  }

  // 64 integers of -128 .. 127 as bytes, in an order of their own; a bit for each that equals `value`.
  static constexpr bool kComparesBytes = true;
  static Ints pack_bytes(const std::int32_t* p) {
    const Ints low = _mm512_packs_epi32(load_ints_any(p), load_ints_any(p + 16));
    return _mm512_packs_epi16(low, _mm512_packs_epi32(load_ints_any(p + 32), load_ints_any(p + 48)));
  }
  static std::uint64_t equal_bytes(Ints bytes, char value) {
    return _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(value));
  }

  // The sum of each of 16 vectors, in its lane.
  static Floats sum_each(const Floats (&v)[kLanes]) {
    const Floats a = sum_quads(v), b = sum_quads(v + 4), c = sum_quads(v + 8), d = sum_quads(v + 12);
    const Floats ab = _mm512_add_ps(quarters<0x44>(a, b), quarters<0xEE>(a, b));
    const Floats cd = _mm512_add_ps(quarters<0x44>(c, d), quarters<0xEE>(c, d));
    return _mm512_add_ps(quarters<0x88>(ab, cd), quarters<0xDD>(ab, cd));
  }

  static Floats repeat4(const float* p) {
    return _mm512_maskz_broadcast_f32x4(kAll, _mm_loadu_ps(p));
  }

  // As in EightLanes.
  template <typename Change>
  static void transpose4(const float* rows, std::int64_t stride, const Change& change,
                         Floats out[4]) {
    // Quarters join as halves do: on a Zen 4 an insertion into a whole vector takes twice as long.
    const auto half = [stride](const float* p) {
      return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)),
                                  _mm_loadu_ps(p + 4 * stride), 1);
    };
    __m512 z[4];
    for (int i = 0; i < 4; ++i, rows += stride) {
      z[i] = change(_mm512_insertf32x8(_mm512_castps256_ps512(half(rows)), half(rows + 8 * stride), 1));
    }
    const __m512 a = low_pairs(z[0], z[1]), b = high_pairs(z[0], z[1]);
    const __m512 c = low_pairs(z[2], z[3]), e = high_pairs(z[2], z[3]);
    out[0] = _mm512_shuffle_ps(a, c, 0x44);
    out[1] = _mm512_shuffle_ps(a, c, 0xEE);
    out[2] = _mm512_shuffle_ps(b, e, 0x44);
    out[3] = _mm512_shuffle_ps(b, e, 0xEE);
  }

 private:
  static constexpr __mmask16 kAll = 0xFFFF;

  static Ints load_ints_any(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  template <int kOrder>
  static Floats quarters(Floats a, Floats b) {
    return _mm512_maskz_shuffle_f32x4(kAll, a, b, kOrder);
  }
  // Per quarter, the sums over it of four vectors.
  static Floats sum_quads(const Floats* v) {
    const Floats ab = _mm512_add_ps(low_pairs(v[0], v[1]), high_pairs(v[0], v[1]));
    const Floats cd = _mm512_add_ps(low_pairs(v[2], v[3]), high_pairs(v[2], v[3]));
    return _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
  }
  static Floats low_pairs(Floats a, Floats b) { return _mm512_maskz_unpacklo_ps(kAll, a, b); }
  static Floats high_pairs(Floats a, Floats b) { return _mm512_maskz_unpackhi_ps(kAll, a, b); }
  static __mmask16 first(int count) { return static_cast<__mmask16>((1u << count) - 1u); }
};

// Half as wide: what short rows need.
struct ShortVectors : EightLanes {
  static Floats load_first(const float* p, int count) {
    return _mm256_maskz_loadu_ps(first(count), p);
  }
  static void store_first(float* p, Floats v, int count) {
    _mm256_mask_storeu_ps(p, first(count), v);
  }

 private:
  static __mmask8 first(int count) { return static_cast<__mmask8>((1u << count) - 1u); }
};

}  // namespace
}  // namespace spinlock
