#pragma once

#include <immintrin.h>

#include <cstdint>

#include "simd/eight_lanes.hpp"

// Included by AVX2 translation units only.
namespace spinlock {
namespace {

struct Vectors : EightLanes {
  static constexpr int kRowVectors = 2;  // with 6 codes: 12 sums in 16 registers
  using Ints = __m256i;
  using Mask = __m256;

  static Floats load_first(const float* p, int count) {
    return _mm256_maskload_ps(p, first(count));
  }
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
  static void store_ints_any(std::int32_t* p, Ints v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  }
  static Ints all_ints(std::int32_t v) { return _mm256_set1_epi32(v); }
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
  static Floats magnitude(Floats v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }
  // `v` with `low` in place of the bits in kBits.
  template <std::int32_t kBits>
  static Floats with_last_bits(Floats v, Ints low) {
    return _mm256_or_ps(_mm256_and_ps(v, _mm256_castsi256_ps(all_ints(~kBits))),
                        _mm256_castsi256_ps(low));
  }
  template <std::int32_t kBits>
  static Ints last_bits(Floats v) {
    return _mm256_and_si256(_mm256_castps_si256(v), all_ints(kBits));
  }

  // 64 integers of -128 .. 127 as bytes, in an order of their own; a bit for each that equals `value`.
  struct Bytes {
    Ints halves[2];
  };
  static constexpr bool kComparesBytes = true;
  static Bytes pack_bytes(const std::int32_t* p) { return {{pack_half(p), pack_half(p + 32)}}; }
  static std::uint64_t equal_bytes(const Bytes& bytes, char value) {
    const Ints all = _mm256_set1_epi8(value);
    return equal_bits(bytes.halves[0], all) | equal_bits(bytes.halves[1], all) << 32;
  }

  // The sum of each of 8 vectors, in its lane.
  static Floats sum_each(const Floats (&v)[kLanes]) {
    const Floats a = sum_quads(v), b = sum_quads(v + 4);
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
  }

 private:
  static Ints load_ints_any(const std::int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Ints pack_half(const std::int32_t* p) {
    const Ints low = _mm256_packs_epi32(load_ints_any(p), load_ints_any(p + 8));
    return _mm256_packs_epi16(low, _mm256_packs_epi32(load_ints_any(p + 16), load_ints_any(p + 24)));
  }
  static std::uint64_t equal_bits(Ints a, Ints b) {
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, b)));
  }
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
