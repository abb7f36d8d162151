// Streams for the bandwidths: blocks of 512 bytes, read alone or copied.

#pragma once

#include <cstddef>
#include <cstring>

#include "multiply_add.hpp"

namespace {

constexpr std::size_t kBlock = 512;

// Eight independent vectors per step, so that neither latency nor the loop itself counts.  After
// each pass the compiler has to believe that memory changed.
#define DEFINE_STREAMS(NAME, TARGET, WIDTH)                                              \
  TARGET void NAME##_read(const char* from, char*, std::size_t bytes, long passes) {     \
    typedef long long Vector __attribute__((vector_size(WIDTH)));                        \
    Vector s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{}, s7{};                               \
    for (long pass = 0; pass < passes; ++pass) {                                         \
      for (std::size_t at = 0; at < bytes; at += 8 * WIDTH) {                            \
        const Vector* in = reinterpret_cast<const Vector*>(from + at);                   \
        s0 ^= in[0], s1 ^= in[1], s2 ^= in[2], s3 ^= in[3];                              \
        s4 ^= in[4], s5 ^= in[5], s6 ^= in[6], s7 ^= in[7];                              \
      }                                                                                  \
      asm volatile("" ::: "memory");                                                     \
    }                                                                                    \
    s0 ^= s1 ^ s2 ^ s3 ^ s4 ^ s5 ^ s6 ^ s7;                                              \
    g_sink = static_cast<float>(s0[0]);                                                  \
  }                                                                                      \
  TARGET void NAME##_copy(const char* from, char* to, std::size_t bytes, long passes) {  \
    typedef long long Vector __attribute__((vector_size(WIDTH)));                        \
    for (long pass = 0; pass < passes; ++pass) {                                         \
      for (std::size_t at = 0; at < bytes; at += 8 * WIDTH) {                            \
        const Vector* in = reinterpret_cast<const Vector*>(from + at);                   \
        Vector* out = reinterpret_cast<Vector*>(to + at);                                \
        const Vector v0 = in[0], v1 = in[1], v2 = in[2], v3 = in[3];                     \
        const Vector v4 = in[4], v5 = in[5], v6 = in[6], v7 = in[7];                     \
        out[0] = v0, out[1] = v1, out[2] = v2, out[3] = v3;                              \
        out[4] = v4, out[5] = v5, out[6] = v6, out[7] = v7;                              \
      }                                                                                  \
      asm volatile("" ::: "memory");                                                     \
    }                                                                                    \
  }

using Stream = void (*)(const char* from, char* to, std::size_t bytes, long passes);

#if ON_X86
DEFINE_STREAMS(avx512, __attribute__((target("avx512f"))), 64)
DEFINE_STREAMS(avx2, __attribute__((target("avx2"))), 32)
#endif
DEFINE_STREAMS(plain, , 16)

Stream read_stream() {
#if ON_X86
  if (has_avx512()) return avx512_read;
  if (has_avx2()) return avx2_read;
#endif
  return plain_read;
}

Stream copy_stream() {
#if ON_X86
  if (has_avx512()) return avx512_copy;
  if (has_avx2()) return avx2_copy;
#endif
  return plain_copy;
}

#if ON_X86
// Past the caches: the destination's lines are not read first.
void streaming_copy(const char* from, char* to, std::size_t bytes, long passes) {
  for (long pass = 0; pass < passes; ++pass) {
    for (std::size_t at = 0; at < bytes; at += 64) {
      const __m128i* in = reinterpret_cast<const __m128i*>(from + at);
      __m128i* out = reinterpret_cast<__m128i*>(to + at);
      const __m128i v0 = _mm_load_si128(in), v1 = _mm_load_si128(in + 1);
      const __m128i v2 = _mm_load_si128(in + 2), v3 = _mm_load_si128(in + 3);
      _mm_stream_si128(out, v0), _mm_stream_si128(out + 1, v1);
      _mm_stream_si128(out + 2, v2), _mm_stream_si128(out + 3, v3);
    }
    _mm_sfence();
  }
}
#endif

}  // namespace
