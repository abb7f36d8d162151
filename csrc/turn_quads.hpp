#pragma once

namespace spinlock {

// Element d of each of four vectors, in turned[d]. `Quad` is a vector of four 32-bit values, as compilers
// extend C++ by; for code of the platform's baseline.
template <typename Quad>
inline void turn_quads(const Quad (&rows)[4], Quad (&turned)[4]) {
  const Quad a = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5);
  const Quad b = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
  const Quad c = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
  const Quad e = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
  turned[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
  turned[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
  turned[2] = __builtin_shufflevector(b, e, 0, 1, 4, 5);
  turned[3] = __builtin_shufflevector(b, e, 2, 3, 6, 7);
}

}  // namespace spinlock
