// Multiply-adds for the peaks: independent chains, as many as hide the latency and fit the registers.

#pragma once

#if defined(__x86_64__) || defined(__i386__)
#define ON_X86 1
#include <immintrin.h>
#if defined(__clang__) ? __clang_major__ >= 10 : __GNUC__ >= 11
#define KNOWS_BF16 1
#endif
#endif

namespace {

#define CHAINS12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define CHAINS24(X)                                                                      \
  CHAINS12(X) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)

constexpr double kUnroll = 8;

volatile float g_factor = 0.999f, g_term = 1e-3f;  // unknown to the compiler
volatile float g_sink;

#define START(i) Vector c##i = b + static_cast<float>(i);
#define STEP(i) c##i = c##i * a + b;
#define GATHER(i) total += c##i;
#define REPEAT8(X) X X X X X X X X

// Compilers contract `c * a + b` to one instruction where the target has it (-ffp-contract=fast).
#define DEFINE_MULTIPLY_ADD(NAME, TARGET, WIDTH, CHAINS)                                 \
  TARGET void NAME(long steps) {                                                         \
    typedef float Vector __attribute__((vector_size(4 * WIDTH)));                        \
    Vector a = Vector{} + g_factor, b = Vector{} + g_term;                               \
    CHAINS(START)                                                                        \
    for (long s = 0; s < steps; ++s) {                                                   \
      REPEAT8(CHAINS(STEP))                                                              \
    }                                                                                    \
    Vector total = Vector{};                                                             \
    CHAINS(GATHER)                                                                       \
    g_sink = total[0];                                                                   \
  }

using Work = void (*)(long steps);

struct Peak {
  const char* name;
  Work work;
  double flops_per_step;
};

#if ON_X86
DEFINE_MULTIPLY_ADD(fma_avx512, __attribute__((target("avx512f"))), 16, CHAINS24)
DEFINE_MULTIPLY_ADD(fma_avx2, __attribute__((target("avx2,fma"))), 8, CHAINS12)
DEFINE_MULTIPLY_ADD(fma_plain, , 4, CHAINS12)
#else
DEFINE_MULTIPLY_ADD(fma_plain, , 4, CHAINS24)
#endif

#if ON_X86
bool has_avx512() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f");
}

bool has_avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

Peak float_peak() {
#if ON_X86
  if (has_avx512()) return {"AVX-512", fma_avx512, 2.0 * 16 * 24 * kUnroll};
  if (has_avx2()) return {"AVX2 and FMA", fma_avx2, 2.0 * 8 * 12 * kUnroll};
  return {"SSE2 multiply and add", fma_plain, 2.0 * 4 * 12 * kUnroll};
#else
  return {"128-bit vectors", fma_plain, 2.0 * 4 * 24 * kUnroll};
#endif
}

#if KNOWS_BF16
#define START_BF16(i) __m512 c##i = _mm512_set1_ps(static_cast<float>(i));
#define STEP_BF16(i) c##i = _mm512_dpbf16_ps(c##i, a, b);
#define GATHER_BF16(i) total = _mm512_add_ps(total, c##i);

__attribute__((target("avx512f,avx512bf16"))) void dot_bf16(long steps) {
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(g_factor), _mm512_set1_ps(g_factor));
  const __m512bh b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(g_term), _mm512_set1_ps(-g_term));
  CHAINS24(START_BF16)
  for (long s = 0; s < steps; ++s) {
    REPEAT8(CHAINS24(STEP_BF16))
  }
  __m512 total = _mm512_setzero_ps();
  CHAINS24(GATHER_BF16)
  float lanes[16];
  _mm512_storeu_ps(lanes, total);
  g_sink = lanes[0];
}
#endif

Peak bf16_peak() {
#if KNOWS_BF16
  if (has_avx512() && __builtin_cpu_supports("avx512bf16"))
    return {"AVX-512 BF16", dot_bf16, 2.0 * 32 * 24 * kUnroll};
#endif
  return {"", nullptr, 0.0};
}

}  // namespace
