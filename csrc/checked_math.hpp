#pragma once

#include <cstdint>
#include <limits>

namespace spinlock {

// Arithmetic on counts and offsets, all non-negative. `fail` must throw: it is called, and builds
// its message, only where the exact result does not fit 64 bits.

template <typename Fail>
std::int64_t checked_add(std::int64_t a, std::int64_t b, const Fail& fail) {
  if (a > std::numeric_limits<std::int64_t>::max() - b) fail();
  return a + b;
}

template <typename Fail>
std::int64_t checked_multiply(std::int64_t a, std::int64_t b, const Fail& fail) {
  if (b != 0 && a > std::numeric_limits<std::int64_t>::max() / b) fail();
  return a * b;
}

// The smallest multiple of `multiple` (at least 1) that is not below `value`.
template <typename Fail>
std::int64_t checked_round_up(std::int64_t value, std::int64_t multiple, const Fail& fail) {
  const std::int64_t remainder = value % multiple;
  return remainder == 0 ? value : checked_add(value, multiple - remainder, fail);
}

}  // namespace spinlock
