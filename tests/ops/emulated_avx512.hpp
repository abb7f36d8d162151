// The AVX-512 instructions that the core uses, one lane after the other: its own check runs those
// paths where the processor has AVX2 only. Included before the vectors, by SPINLOCK_EMULATE_AVX512.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>

namespace emulated {

constexpr int kLanes = 16;

template <typename To, typename From>
To as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

struct Floats {
  float lane[kLanes];
};
struct Ints {
  std::int32_t lane[kLanes];
};
struct Halves {  // bfloat16: two of each 32-bit lane, or one of each float
  std::uint16_t lane[2 * kLanes];
};

template <typename Function>
__m512 each(Function&& value) {
  Floats result;
  for (int i = 0; i < kLanes; ++i) result.lane[i] = value(i);
  return as<__m512>(result);
}

template <typename Function>
__m512i each_int(Function&& value) {
  Ints result;
  for (int i = 0; i < kLanes; ++i) result.lane[i] = static_cast<std::int32_t>(value(i));
  return as<__m512i>(result);
}

inline float at(__m512 v, int i) { return as<Floats>(v).lane[i]; }
inline std::uint32_t at(__m512i v, int i) { return static_cast<std::uint32_t>(as<Ints>(v).lane[i]); }
inline bool has(__mmask16 mask, int i) { return (mask >> i & 1) != 0; }

// An aligned access that is not would fault.
template <typename Pointer>
Pointer aligned(Pointer p) {
  if (reinterpret_cast<std::uintptr_t>(p) % 64 != 0) __builtin_trap();
  return p;
}

inline __m512 loadu(const float* p) {
  return each([&](int i) { return p[i]; });
}
inline __m512 maskz_loadu(__mmask16 m, const float* p) {
  return each([&](int i) { return has(m, i) ? p[i] : 0.0f; });
}
inline void mask_storeu(float* p, __mmask16 m, __m512 v) {
  for (int i = 0; i < kLanes; ++i) {
    if (has(m, i)) p[i] = at(v, i);
  }
}
inline __m256 maskz_loadu_short(__mmask8 m, const float* p) {
  __m256 v = {};
  for (int i = 0; i < kLanes / 2; ++i) {
    if (has(m, i)) v[i] = p[i];
  }
  return v;
}
inline void mask_storeu_short(float* p, __mmask8 m, __m256 v) {
  for (int i = 0; i < kLanes / 2; ++i) {
    if (has(m, i)) p[i] = v[i];
  }
}
inline __m512i load_ints(const void* p) {
  __m512i v;
  std::memcpy(&v, aligned(p), sizeof v);
  return v;
}
inline void store_ints(void* p, __m512i v) { std::memcpy(aligned(p), &v, sizeof v); }

inline __m512 set1(float v) {
  return each([&](int) { return v; });
}
inline __m512i set1_int(std::int32_t v) {
  return each_int([&](int) { return v; });
}
inline __m512 add(__m512 a, __m512 b) {
  return each([&](int i) { return at(a, i) + at(b, i); });
}
inline __m512 sub(__m512 a, __m512 b) {
  return each([&](int i) { return at(a, i) - at(b, i); });
}
inline __m512 mul(__m512 a, __m512 b) {
  return each([&](int i) { return at(a, i) * at(b, i); });
}
inline __m512 fmadd(__m512 a, __m512 b, __m512 c) {
  return each([&](int i) { return std::fma(at(a, i), at(b, i), at(c, i)); });
}
inline __m512 fnmadd(__m512 a, __m512 b, __m512 c) {
  return each([&](int i) { return std::fma(-at(a, i), at(b, i), at(c, i)); });
}
inline __m512 square_root(__mmask16, __m512 v) {
  return each([&](int i) { return std::sqrt(at(v, i)); });
}
// The second operand, where one is NaN.
inline __m512 least(__mmask16, __m512 a, __m512 b) {
  return each([&](int i) { return at(a, i) < at(b, i) ? at(a, i) : at(b, i); });
}
inline __m512 most(__mmask16, __m512 a, __m512 b) {
  return each([&](int i) { return at(a, i) > at(b, i) ? at(a, i) : at(b, i); });
}
inline __mmask16 compare(__m512 a, __m512 b, int predicate) {
  unsigned mask = 0;
  for (int i = 0; i < kLanes; ++i) {
    const float x = at(a, i), y = at(b, i);
    bool holds = false;
    switch (predicate) {
      case _CMP_LT_OQ:
        holds = x < y;
        break;
      case _CMP_LE_OQ:
        holds = x <= y;
        break;
      case _CMP_NGT_UQ:
        holds = !(x > y);
        break;
      default:
        __builtin_trap();  // one that the core does not use yet
    }
    mask |= (holds ? 1u : 0u) << i;
  }
  return static_cast<__mmask16>(mask);
}
inline __m512 keep(__mmask16 m, __m512 v) {
  return each([&](int i) { return has(m, i) ? at(v, i) : 0.0f; });
}
inline __m512i choose(__m512i no, __mmask16 m, __m512i yes) {
  return each_int([&](int i) { return has(m, i) ? at(yes, i) : at(no, i); });
}
inline __m256 half(__mmask8, __m512 v, int which) {
  __m256 result;
  std::memcpy(&result, as<Floats>(v).lane + 8 * which, sizeof result);
  return result;
}
// What lies above is undefined: NaN finds who reads it.
inline __m512 widen_half(__m256 v) {
  Floats result;
  for (float& lane : result.lane) lane = NAN;
  std::memcpy(result.lane, &v, sizeof v);
  return as<__m512>(result);
}
inline __m512 insert_half(__m512 v, __m256 half, int which) {
  Floats result = as<Floats>(v);
  std::memcpy(result.lane + 8 * which, &half, sizeof half);
  return as<__m512>(result);
}
inline __m512 quarters(__mmask16, __m512 a, __m512 b, int order) {
  return each([&](int i) { return at(i < 8 ? a : b, 4 * (order >> i / 4 * 2 & 3) + i % 4); });
}
inline __m512 low_pairs(__mmask16, __m512 a, __m512 b) {
  return each([&](int i) { return at(i % 2 ? b : a, i / 4 * 4 + i % 4 / 2); });
}
inline __m512 high_pairs(__mmask16, __m512 a, __m512 b) {
  return each([&](int i) { return at(i % 2 ? b : a, i / 4 * 4 + i % 4 / 2 + 2); });
}
inline __m512 shuffle(__m512 a, __m512 b, int order) {
  return each([&](int i) { return at(i % 4 < 2 ? a : b, i / 4 * 4 + (order >> i % 4 * 2 & 3)); });
}
inline __m512i exclusive_or(__m512i a, __m512i b) {
  return each_int([&](int i) { return at(a, i) ^ at(b, i); });
}
inline __m512i either(__m512i a, __m512i b) {
  return each_int([&](int i) { return at(a, i) | at(b, i); });
}
inline __m512i both(__m512i a, __m512i b) {
  return each_int([&](int i) { return at(a, i) & at(b, i); });
}
inline __m512 magnitude(__m512 v) {
  return each([&](int i) { return std::fabs(at(v, i)); });
}
// Bit by bit, the one of `table` that the bits of a, b and c number.
inline __m512i table_lookup(__m512i a, __m512i b, __m512i c, unsigned table) {
  return each_int([&](int i) {
    std::uint32_t result = 0;
    for (int bit = 0; bit < 32; ++bit) {
      const unsigned row =
          (at(a, i) >> bit & 1) << 2 | (at(b, i) >> bit & 1) << 1 | (at(c, i) >> bit & 1);
      result |= (table >> row & 1) << bit;
    }
    return result;
  });
}
inline __m512 repeat_quarter(__mmask16, __m128 v) {
  return each([&](int i) { return v[i % 4]; });
}
// Per quarter, the elements of a and then those of b, half as wide and saturated.
template <typename Wide, typename Narrow>
__m512i narrowed(__m512i a, __m512i b) {
  constexpr int kWide = 64 / sizeof(Wide), kQuarter = kWide / 4;
  Wide from[2][kWide];
  std::memcpy(from[0], &a, sizeof a);
  std::memcpy(from[1], &b, sizeof b);
  Narrow to[2 * kWide];
  for (int i = 0; i < 2 * kWide; ++i) {
    const int within = i % (2 * kQuarter);
    const Wide v = from[within / kQuarter][i / (2 * kQuarter) * kQuarter + within % kQuarter];
    constexpr Wide kMost = std::numeric_limits<Narrow>::max(), kLeast = -kMost - 1;
    to[i] = static_cast<Narrow>(v > kMost ? kMost : v < kLeast ? kLeast : v);
  }
  return as<__m512i>(to);
}
inline std::uint64_t equal_bytes(__m512i a, __m512i b) {
  char of_a[64], of_b[64];
  std::memcpy(of_a, &a, sizeof a);
  std::memcpy(of_b, &b, sizeof b);
  std::uint64_t mask = 0;
  for (int i = 0; i < 64; ++i) mask |= static_cast<std::uint64_t>(of_a[i] == of_b[i]) << i;
  return mask;
}
inline __m512i set1_byte(char v) {
  __m512i all;
  std::memset(&all, v, sizeof all);
  return all;
}
inline __m512i loadu_ints(const void* p) {
  __m512i v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline __m512i shift_left(__mmask16, __m512i v, unsigned count) {
  return each_int([&](int i) { return at(v, i) << count; });
}
inline __m512i widen_halves(__mmask16, __m256i v) {
  std::uint16_t halves[kLanes];
  std::memcpy(halves, &v, sizeof halves);
  return each_int([&](int i) { return halves[i]; });
}

// Both bfloat16 instructions take subnormal numbers for zeros, whatever the control register says.
inline float flushed(float v) {
  return std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.0f, v) : v;
}
inline std::uint16_t rounded_half(float v) {
  const std::uint32_t bits = as<std::uint32_t>(flushed(v));
  if (std::isnan(v)) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
inline float from_half(std::uint16_t v) {
  return flushed(as<float>(static_cast<std::uint32_t>(v) << 16));
}
inline __m256i round_to_halves(__m512 v) {
  std::uint16_t halves[kLanes];
  for (int i = 0; i < kLanes; ++i) halves[i] = rounded_half(at(v, i));
  return as<__m256i>(halves);
}
inline __m512 add_half_products(__m512 sum, Halves a, Halves b) {
  return each([&](int i) {
    float result = flushed(at(sum, i));
    for (const int j : {2 * i + 1, 2 * i}) {
      result = flushed(std::fma(from_half(a.lane[j]), from_half(b.lane[j]), result));
    }
    return result;
  });
}

}  // namespace emulated

// Some of them are macros already.
#undef _mm512_cmp_ps_mask
#undef _mm512_insertf32x8
#undef _mm512_maskz_extractf32x8_ps
#undef _mm512_maskz_shuffle_f32x4
#undef _mm512_maskz_slli_epi32
#undef _mm512_shuffle_ps
#undef _mm512_ternarylogic_epi32
#undef _mm512_cmpeq_epi8_mask
#define __m512bh emulated::Halves
#define _mm256_mask_storeu_ps emulated::mask_storeu_short
#define _mm256_maskz_loadu_ps emulated::maskz_loadu_short
#define _mm512_abs_ps emulated::magnitude
#define _mm512_add_ps emulated::add
#define _mm512_and_si512 emulated::both
#define _mm512_castps256_ps512 emulated::widen_half
#define _mm512_castps_si512 emulated::as<__m512i>
#define _mm512_castsi512_ps emulated::as<__m512>
#define _mm512_cmp_ps_mask emulated::compare
#define _mm512_cmpeq_epi8_mask emulated::equal_bytes
#define _mm512_cvtneps_pbh emulated::round_to_halves
#define _mm512_dpbf16_ps emulated::add_half_products
#define _mm512_fmadd_ps emulated::fmadd
#define _mm512_fnmadd_ps emulated::fnmadd
#define _mm512_insertf32x8 emulated::insert_half
#define _mm512_load_ps(p) emulated::loadu(emulated::aligned(p))
#define _mm512_load_si512 emulated::load_ints
#define _mm512_loadu_ps emulated::loadu
#define _mm512_loadu_si512 emulated::loadu_ints
#define _mm512_mask_mov_epi32 emulated::choose
#define _mm512_mask_storeu_ps emulated::mask_storeu
#define _mm512_maskz_broadcast_f32x4 emulated::repeat_quarter
#define _mm512_maskz_cvtepu16_epi32 emulated::widen_halves
#define _mm512_maskz_extractf32x8_ps emulated::half
#define _mm512_maskz_loadu_ps emulated::maskz_loadu
#define _mm512_maskz_max_ps emulated::most
#define _mm512_maskz_min_ps emulated::least
#define _mm512_maskz_mov_ps emulated::keep
#define _mm512_maskz_shuffle_f32x4 emulated::quarters
#define _mm512_maskz_slli_epi32 emulated::shift_left
#define _mm512_maskz_sqrt_ps emulated::square_root
#define _mm512_maskz_unpackhi_ps emulated::high_pairs
#define _mm512_maskz_unpacklo_ps emulated::low_pairs
#define _mm512_mul_ps emulated::mul
#define _mm512_or_si512 emulated::either
#define _mm512_packs_epi16 emulated::narrowed<std::int16_t, std::int8_t>
#define _mm512_packs_epi32 emulated::narrowed<std::int32_t, std::int16_t>
#define _mm512_set1_epi32 emulated::set1_int
#define _mm512_set1_epi8 emulated::set1_byte
#define _mm512_set1_ps emulated::set1
#define _mm512_setzero_ps() emulated::set1(0.0f)
#define _mm512_setzero_si512() emulated::set1_int(0)
#define _mm512_shuffle_ps emulated::shuffle
#define _mm512_store_ps(p, v) emulated::mask_storeu(emulated::aligned(p), 0xFFFF, v)
#define _mm512_store_si512 emulated::store_ints
#define _mm512_storeu_ps(p, v) emulated::mask_storeu(p, 0xFFFF, v)
#define _mm512_storeu_si512(p, v) std::memcpy(p, &(v), sizeof(__m512i))
#define _mm512_sub_ps emulated::sub
#define _mm512_ternarylogic_epi32 emulated::table_lookup
#define _mm512_xor_si512 emulated::exclusive_or
