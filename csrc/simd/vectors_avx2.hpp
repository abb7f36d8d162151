#pragma once

#include <immintrin.h>

#include <cstdint>

// Included by AVX2 translation units only; see vectors_avx512.hpp.
namespace spinlock {
namespace {

struct Vectors {
  static constexpr int kLanes = 8;
  static constexpr int kRowVectors = 2;  // with 6 codes: 12 sums in 16 registers
  using Floats = __m256;
  using Ints = __m256i;
  using Mask = __m256;

  static Floats load(const float* p) { return _mm256_load_ps(p); }
  static Floats load_any(const float* p) { return _mm256_loadu_ps(p); }
  static Floats load_first(const float* p, int count) {
    return _mm256_maskload_ps(p, first(count));
  }
  static void store(float* p, Floats v) { _mm256_store_ps(p, v); }
  static void store_any(float* p, Floats v) { _mm256_storeu_ps(p, v); }
  // In parts: a masked store takes dozens of micro-operations on processors of AMD without AVX-512.
  static void store_first(float* p, Floats v, int count) {
    if (count == kLanes) return store_any(p, v);
    __m128 part = _mm256_castps256_ps128(v);
    if (count & 4) {
      _mm_storeu_ps(p, part);
      part = _mm256_extractf128_ps(v, 1);
      p += 4;
    }
    if (count & 2) {
      _mm_storel_pi(reinterpret_cast<__m64*>(p), part);
      part = _mm_movehl_ps(part, part);
      p += 2;
    }
    if (count & 1) _mm_store_ss(p, part);
  }
  static Ints load_ints(const std::int32_t* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void store_ints(std::int32_t* p, Ints v) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(p), v);
  }
  static Floats all(float v) { return _mm256_set1_ps(v); }
  static Ints all_ints(std::int32_t v) { return _mm256_set1_epi32(v); }
  static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats add_product(Floats a, Floats b, Floats sum) { return _mm256_fmadd_ps(a, b, sum); }
  static Floats subtract_product(Floats a, Floats b, Floats sum) {
    return _mm256_fnmadd_ps(a, b, sum);
  }
  static Floats square_root(Floats v) { return _mm256_sqrt_ps(v); }
  static Floats least(Floats a, Floats b) { return _mm256_min_ps(a, b); }
  static Floats most(Floats a, Floats b) { return _mm256_max_ps(a, b); }
  static Mask below(Floats a, Floats b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  static Mask not_above(Floats a, Floats b) { return _mm256_cmp_ps(a, b, _CMP_NGT_UQ); }
  static Floats keep(Mask m, Floats v) { return _mm256_and_ps(m, v); }
  static bool any(Mask m) { return _mm256_movemask_ps(m) != 0; }
  static std::uint32_t bits(Mask m) { return static_cast<std::uint32_t>(_mm256_movemask_ps(m)); }
  static Ints choose(Mask m, Ints yes, Ints no) {
    return _mm256_blendv_epi8(no, yes, _mm256_castps_si256(m));
  }
  static float sum(Floats v) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }

  // The sum of each of 8 vectors, in its lane.
  static Floats sum_each(const Floats (&v)[kLanes]) {
    const Floats a = sum_quads(v), b = sum_quads(v + 4);
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
  }

  static void transpose4(const float* rows, std::int64_t stride, Floats out[4]) {
    __m256 z[4];
    for (int i = 0; i < 4; ++i, rows += stride) {
      z[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(rows)),
                                  _mm_loadu_ps(rows + 4 * stride), 1);
    }
    const __m256 a = _mm256_unpacklo_ps(z[0], z[1]), b = _mm256_unpackhi_ps(z[0], z[1]);
    const __m256 c = _mm256_unpacklo_ps(z[2], z[3]), e = _mm256_unpackhi_ps(z[2], z[3]);
    out[0] = _mm256_shuffle_ps(a, c, 0x44);
    out[1] = _mm256_shuffle_ps(a, c, 0xEE);
    out[2] = _mm256_shuffle_ps(b, e, 0x44);
    out[3] = _mm256_shuffle_ps(b, e, 0xEE);
  }

 private:
  // Per half, the sums over it of four vectors.
  static Floats sum_quads(const Floats* v) {
    const __m256 a = _mm256_add_ps(_mm256_unpacklo_ps(v[0], v[1]), _mm256_unpackhi_ps(v[0], v[1]));
    const __m256 b = _mm256_add_ps(_mm256_unpacklo_ps(v[2], v[3]), _mm256_unpackhi_ps(v[2], v[3]));
    return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xEE));
  }
  static __m256i first(int count) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane);
  }
};

using ShortVectors = Vectors;

}  // namespace
}  // namespace spinlock
