#pragma once

#include <immintrin.h>

#include <cstdint>

// What eight lanes do alike with AVX2 and with AVX-512, which have masks of their own. Included by
// translation units compiled for either; the anonymous namespace keeps what is compiled with their
// flags out of every other one.
namespace spinlock {
namespace {

struct EightLanes {
  static constexpr int kLanes = 8;
  using Floats = __m256;

  static Floats load(const float* p) { return _mm256_load_ps(p); }
  static Floats load_any(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Floats v) { _mm256_store_ps(p, v); }
  static void store_any(float* p, Floats v) { _mm256_storeu_ps(p, v); }
  // Without the masks that any other number of lanes takes.
  static Floats load_four(const float* p) { return _mm256_zextps128_ps256(_mm_loadu_ps(p)); }
  static void store_four(float* p, Floats v) { _mm_storeu_ps(p, _mm256_castps256_ps128(v)); }
  static Floats all(float v) { return _mm256_set1_ps(v); }
  static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats add_product(Floats a, Floats b, Floats sum) { return _mm256_fmadd_ps(a, b, sum); }
  static float sum(Floats v) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
  }

  // Four values, and the same four again until the vector is full.
  static Floats repeat4(const float* p) {
    const __m128 four = _mm_loadu_ps(p);
    return _mm256_insertf128_ps(_mm256_castps128_ps256(four), four, 1);
  }

  // Dims 0 .. 3 of kLanes rows that lie `stride` elements apart, one vector per dim; `change` is
  // applied to vectors of four dims of some rows.
  template <typename Change>
  static void transpose4(const float* rows, std::int64_t stride, const Change& change,
                         Floats out[4]) {
    __m256 z[4];
    for (int i = 0; i < 4; ++i, rows += stride) {
      z[i] = change(_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(rows)),
                                         _mm_loadu_ps(rows + 4 * stride), 1));
    }
    const __m256 a = _mm256_unpacklo_ps(z[0], z[1]), b = _mm256_unpackhi_ps(z[0], z[1]);
    const __m256 c = _mm256_unpacklo_ps(z[2], z[3]), e = _mm256_unpackhi_ps(z[2], z[3]);
    out[0] = _mm256_shuffle_ps(a, c, 0x44);
    out[1] = _mm256_shuffle_ps(a, c, 0xEE);
    out[2] = _mm256_shuffle_ps(b, e, 0x44);
    out[3] = _mm256_shuffle_ps(b, e, 0xEE);
  }
};

}  // namespace
}  // namespace spinlock
