#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include "turn_quads.hpp"

// Vector extensions of GCC and clang: SSE2 on any x86-64, NEON on any aarch64.
namespace spinlock {
namespace {

struct Vectors {
  static constexpr int kLanes = 4;
  static constexpr bool kComparesBytes = false;
#if defined(__aarch64__)
  static constexpr int kRowVectors = 4;  // 32 registers
#else
  static constexpr int kRowVectors = 2;
#endif
  typedef float Floats __attribute__((vector_size(16)));
  typedef std::int32_t Ints __attribute__((vector_size(16)));
  typedef Ints Mask;

  static Floats load(const float* p) { return load_any(p); }
  static Floats load_any(const float* p) {
    Floats v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static Floats load_first(const float* p, int count) {
    Floats v = {};
    for (int i = 0; i < count; ++i) v[i] = p[i];
    return v;
  }
  static void store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }
  static void store_any(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }
  static void store_first(float* p, Floats v, int count) {
    for (int i = 0; i < count; ++i) p[i] = v[i];
  }
  static Ints load_ints(const std::int32_t* p) {
    Ints v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store_ints(std::int32_t* p, Ints v) { std::memcpy(p, &v, sizeof v); }
  static void store_ints_any(std::int32_t* p, Ints v) { store_ints(p, v); }
  static Floats all(float v) { return Floats{v, v, v, v}; }
  static Ints all_ints(std::int32_t v) { return Ints{v, v, v, v}; }
  static Floats add(Floats a, Floats b) { return a + b; }
  static Floats subtract(Floats a, Floats b) { return a - b; }
  static Floats multiply(Floats a, Floats b) { return a * b; }
  // Fused or not: the error bounds of the lookup allow for both.
  static Floats add_product(Floats a, Floats b, Floats sum) {
#if defined(__aarch64__)
    return vfmaq_f32(sum, a, b);
#else
    return sum + a * b;
#endif
  }
  static Floats subtract_product(Floats a, Floats b, Floats sum) {
#if defined(__aarch64__)
    return vfmsq_f32(sum, a, b);
#else
    return sum - a * b;
#endif
  }
  static Floats square_root(Floats v) {
    for (int i = 0; i < kLanes; ++i) v[i] = std::sqrt(v[i]);
    return v;
  }
  static Floats least(Floats a, Floats b) { return pick(a < b, a, b); }
  static Floats most(Floats a, Floats b) { return pick(a > b, a, b); }
  static Mask below(Floats a, Floats b) { return a < b; }
  static Mask not_above(Floats a, Floats b) { return ~(a > b); }
  static Floats keep(Mask m, Floats v) { return pick(m, v, all(0.0f)); }
  static bool any(Mask m) {
    std::uint64_t halves[2];
    std::memcpy(halves, &m, sizeof halves);
    return (halves[0] | halves[1]) != 0;
  }
  static std::uint32_t bits(Mask m) {
    std::uint32_t found = 0;
    for (int i = 0; i < kLanes; ++i) found |= (m[i] != 0 ? 1u : 0u) << i;
    return found;
  }
  static Ints choose(Mask m, Ints yes, Ints no) { return (m & yes) | (~m & no); }
  static Floats magnitude(Floats v) { return most(v, -v); }
  // `v` with `low` in place of the bits in kBits.
  template <std::int32_t kBits>
  static Floats with_last_bits(Floats v, Ints low) {
    return floats_of((ints_of(v) & ~kBits) | low);
  }
  template <std::int32_t kBits>
  static Ints last_bits(Floats v) {
    return ints_of(v) & kBits;
  }
  static float sum(Floats v) { return (v[0] + v[2]) + (v[1] + v[3]); }

  // The sum of each of 4 vectors, in its lane.
  static Floats sum_each(const Floats (&v)[kLanes]) {
    return Floats{sum(v[0]), sum(v[1]), sum(v[2]), sum(v[3])};
  }

  static Floats repeat4(const float* p) { return load_any(p); }

  // As in EightLanes.
  template <typename Change>
  static void transpose4(const float* rows, std::int64_t stride, const Change& change,
                         Floats out[4]) {
    const Floats read[4] = {change(load_any(rows)), change(load_any(rows + stride)),
                            change(load_any(rows + 2 * stride)),
                            change(load_any(rows + 3 * stride))};
    Floats turned[4];
    turn_quads(read, turned);
    for (int d = 0; d < 4; ++d) out[d] = turned[d];
  }

 private:
  static Floats pick(Ints m, Floats yes, Floats no) {
    return floats_of(choose(m, ints_of(yes), ints_of(no)));
  }
  static Ints ints_of(Floats v) {
    Ints bits;
    std::memcpy(&bits, &v, sizeof bits);
    return bits;
  }
  static Floats floats_of(Ints bits) {
    Floats v;
    std::memcpy(&v, &bits, sizeof v);
    return v;
  }
};

using ShortVectors = Vectors;

}  // namespace
}  // namespace spinlock
