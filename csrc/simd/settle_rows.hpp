#pragma once

#include <cstdint>
#include <type_traits>

#include "simd/row_tile.hpp"

// What follows a lookup: codes gathered, squared errors and sums by code. Up to 8 vectors of them,
// codes pass as ShortVectors: with 16 lanes a Zen 5 takes up to twice as long to add to a table.

namespace spinlock {
namespace {

// float32 sums of squares outside this range may have over- or underflowed.
constexpr float kSmallestSquares = 1e-28f;
constexpr float kLargestSquares = 1e37f;

// Sums of squared errors, several at a time: one chain of additions would set the pace.
constexpr int kErrors = 4;

// The first `rest` values of a vector; kRest says how many where that is known, 0 otherwise.
template <typename W, int kRest>
SPINLOCK_INLINE typename W::Floats load_last(const float* p, int rest) {
  if constexpr (kRest == 4) {
    return W::load_four(p);
  } else {
    return W::load_first(p, rest);
  }
}

template <typename W, int kRest>
SPINLOCK_INLINE void store_last(float* p, typename W::Floats v, int rest) {
  if constexpr (kRest == 4) {
    W::store_four(p, v);
  } else {
    W::store_first(p, v, rest);
  }
}

// kWhole full vectors of W, then `rest` more dims (0 < rest <= kLanes); kWhole < 0: as many as D has.
// kRest: `rest` where it is a whole vector, or half of one with 8 lanes; 0 where it may be anything.
template <typename W, int kWhole, int kRest, bool kGather, bool kSum, bool kError>
SPINLOCK_INLINE void settle_row(const float* x, const float* code, std::int64_t whole, int rest,
                                float* quantized, float* sums,
                                typename W::Floats (&errors)[kErrors]) {
  using Values = typename W::Floats;
  const auto settle_vector = [&](std::int64_t d, Values& error) __attribute__((always_inline)) {
    const Values value = W::load_any(x + d);
    if constexpr (kSum) W::store(sums + d, W::add(W::load(sums + d), value));
    if constexpr (kError) {
      const Values c = W::load_any(code + d);
      if constexpr (kGather) W::store_any(quantized + d, c);
      const Values difference = W::subtract(value, c);
      error = W::add_product(difference, difference, error);
    }
  };
  constexpr int kTurns = kErrors - 1;  // the last one is for the rest
  if constexpr (kWhole < 0) {
    std::int64_t v = 0;
    for (; v + kTurns <= whole; v += kTurns) {
      SPINLOCK_UNROLL
      for (int j = 0; j < kTurns; ++j) settle_vector((v + j) * W::kLanes, errors[j]);
    }
    for (; v < whole; ++v) settle_vector(v * W::kLanes, errors[0]);
  } else {
    SPINLOCK_UNROLL
    for (int j = 0; j < kWhole; ++j) settle_vector(j * W::kLanes, errors[j % kTurns]);
  }
  const std::int64_t d = (kWhole < 0 ? whole : kWhole) * W::kLanes;
  if constexpr (kRest == W::kLanes) {
    settle_vector(d, errors[kErrors - 1]);
  } else {
    const Values value = load_last<W, kRest>(x + d, rest);
    if constexpr (kSum) W::store(sums + d, W::add(W::load(sums + d), value));
    if constexpr (kError) {
      const Values c = load_last<W, kRest>(code + d, rest);
      if constexpr (kGather) store_last<W, kRest>(quantized + d, c, rest);
      const Values difference = W::subtract(value, c);
      errors[kErrors - 1] = W::add_product(difference, difference, errors[kErrors - 1]);
    }
  }
}

double exact_squared_error(const CodebookPanels& panels, const Rows& rows,
                           const std::int32_t* chosen, std::int64_t first, std::int64_t end) {
  double total = 0.0;
  for (std::int64_t i = first; i < end; ++i) {
    if (chosen[i] == kSkipped) continue;
    const float* const x = rows.data + i * rows.stride;
    const float* const code = panels.codes + chosen[i] * panels.stride;
    for (std::int64_t d = 0; d < panels.dim; ++d) {
      const double difference = static_cast<double>(x[d]) - static_cast<double>(code[d]);
      total += difference * difference;
    }
  }
  return total;
}

template <typename W, int kWhole, int kRest, bool kGather, bool kSum, bool kError>
double settle_all(const CodebookPanels& panels, const Rows& rows, const std::int32_t* chosen,
                  const RowOutputs& outputs, double total) {
  const std::int64_t dim = panels.dim, whole = (dim - 1) / W::kLanes;
  const auto rest = static_cast<int>(dim - whole * W::kLanes);
  // Copies, for a vector that is stored may be anything: members would be read again for every row.
  const float* const codes = panels.codes;
  float* const table = outputs.sums;
  const std::int64_t code_stride = panels.stride, table_stride = outputs.sums_stride;
  const std::int64_t stride = rows.stride, quantized_stride = outputs.quantized_stride;
  const float* x = rows.data;
  float* quantized = outputs.quantized;
  for (std::int64_t first = 0; first < rows.count; first += kRows) {
    const std::int64_t end = rows.count - first < kRows ? rows.count : first + kRows;
    typename W::Floats errors[kErrors];
    for (auto& error : errors) error = W::all(0.0f);
    const std::int64_t left = rows.count - end;
    Upcoming next = outputs.next;
    if (left > 0) next = {quantized + kRows * quantized_stride, quantized_stride, left};
    const std::int64_t next_stride = next.stride == 0 ? dim : next.stride;
    for (std::int64_t i = first; i < end; ++i, x += stride) {
      float* const to = quantized;
      if constexpr (kGather) {
        quantized += quantized_stride;
        if (i - first < next.rows) {
          const float* const row = next.data + (i - first) * next_stride;
          for (std::int64_t d = 0; d < dim; d += 16) __builtin_prefetch(row + d, 1, 2);
        }
      }
      const std::int64_t k = chosen[i];
      if (k == kSkipped) {
        if constexpr (kGather) __builtin_memcpy(to, codes, static_cast<std::size_t>(dim) * 4);
        continue;
      }
      settle_row<W, kWhole, kRest, kGather, kSum, kError>(
          x, kError ? codes + k * code_stride : nullptr, whole, rest, to,
          kSum ? table + k * table_stride : nullptr, errors);
    }
    if constexpr (!kError) continue;
    // At most kRows * D / kLanes non-negative terms per lane in float32, the rest in float64.
    const float squares =
        W::sum(W::add(W::add(errors[0], errors[1]), W::add(errors[2], errors[3])));
    const bool safe = squares > kSmallestSquares && squares < kLargestSquares;
    total += safe ? static_cast<double>(squares)
                  : exact_squared_error(panels, rows, chosen, first, end);
  }
  return total;
}

template <typename W, bool kGather, bool kSum, bool kError>
double settle_dims(const CodebookPanels& panels, const Rows& rows, const std::int32_t* chosen,
                   const RowOutputs& outputs, double total) {
  const auto of = [&](auto whole) {
    constexpr int kWhole = whole(), kLanes = W::kLanes;
    const auto rest = [&](auto fixed) {
      return settle_all<W, kWhole, fixed(), kGather, kSum, kError>(panels, rows, chosen, outputs,
                                                                   total);
    };
    if constexpr (kWhole >= 0) {
      if (panels.dim % kLanes == 0) return rest(std::integral_constant<int, kLanes>());
      if constexpr (kLanes == 8) {
        if (panels.dim % kLanes == 4) return rest(std::integral_constant<int, 4>());
      }
    }
    return rest(std::integral_constant<int, 0>());
  };
  switch ((panels.dim - 1) / W::kLanes) {
    case 0: return of(std::integral_constant<int, 0>());
    case 1: return of(std::integral_constant<int, 1>());
    case 2: return of(std::integral_constant<int, 2>());
    case 3: return of(std::integral_constant<int, 3>());
    case 4: return of(std::integral_constant<int, 4>());
    case 5: return of(std::integral_constant<int, 5>());
    case 6: return of(std::integral_constant<int, 6>());
    case 7: return of(std::integral_constant<int, 7>());
    default: return of(std::integral_constant<int, -1>());
  }
}

template <bool kGather, bool kSum, bool kError>
double settle_any(const CodebookPanels& panels, const Rows& rows, const std::int32_t* chosen,
                  const RowOutputs& outputs, double total) {
  if (panels.dim <= 8 * ShortVectors::kLanes) {
    return settle_dims<ShortVectors, kGather, kSum, kError>(panels, rows, chosen, outputs, total);
  }
  return settle_dims<V, kGather, kSum, kError>(panels, rows, chosen, outputs, total);
}

double settle(const CodebookPanels& panels, const Rows& rows, const std::int32_t* chosen,
              const RowOutputs& outputs, double total) {
  const bool sum = outputs.sums != nullptr;
  if (panels.codes == nullptr) {
    return sum ? settle_any<false, true, false>(panels, rows, chosen, outputs, total) : total;
  }
  if (outputs.quantized != nullptr) {
    return sum ? settle_any<true, true, true>(panels, rows, chosen, outputs, total)
               : settle_any<true, false, true>(panels, rows, chosen, outputs, total);
  }
  return sum ? settle_any<false, true, true>(panels, rows, chosen, outputs, total)
             : settle_any<false, false, true>(panels, rows, chosen, outputs, total);
}

}  // namespace
}  // namespace spinlock
