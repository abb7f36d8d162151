#pragma once

#include <cstdint>

// Included, after `Vectors`, by one translation unit per instruction set.

namespace spinlock {
namespace {

template <bool kGrad>
void add_commitment_to(const float* grad, const float* factor, const float* x, const float* code,
                       std::int64_t count, float* out) {
  using V = Vectors;
  const auto value = [](typename V::Floats f, typename V::Floats from, typename V::Floats c) {
    return V::multiply(V::subtract(from, c), f);
  };
  std::int64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    typename V::Floats v = value(V::load_any(factor + i), V::load_any(x + i), V::load_any(code + i));
    if constexpr (kGrad) v = V::add(V::load_any(grad + i), v);
    V::store_any(out + i, v);
  }
  if (i == count) return;
  const int last = static_cast<int>(count - i);
  typename V::Floats v = value(V::load_first(factor + i, last), V::load_first(x + i, last),
                               V::load_first(code + i, last));
  if constexpr (kGrad) v = V::add(V::load_first(grad + i, last), v);
  V::store_first(out + i, v, last);
}

void add_commitment(const float* grad, const float* factor, const float* x, const float* code,
                    std::int64_t count, float* out) {
  if (grad == nullptr) {
    add_commitment_to<false>(grad, factor, x, code, count, out);
  } else {
    add_commitment_to<true>(grad, factor, x, code, count, out);
  }
}

}  // namespace
}  // namespace spinlock
