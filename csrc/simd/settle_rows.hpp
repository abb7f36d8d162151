#pragma once

#include <cstdint>

#include "simd/row_tile.hpp"

// What follows a lookup: codes gathered, squared errors and sums by code.

namespace spinlock {
namespace {

// float32 sums of squares outside this range may have over- or underflowed.
constexpr float kSmallestSquares = 1e-28f;
constexpr float kLargestSquares = 1e37f;

// Sums of squared errors, several at a time: one chain of additions would set the pace.
constexpr int kErrors = 4;

// kWhole full vectors, then `rest` more dims (0 < rest <= kLanes); kWhole < 0: as many as D has.
template <int kWhole, bool kGather, bool kSum, bool kError>
SPINLOCK_INLINE void settle_row(const float* x, const float* code, std::int64_t whole, int rest,
                                float* quantized, float* sums, Floats (&errors)[kErrors]) {
  const std::int64_t vectors = kWhole < 0 ? whole : kWhole;
  for (std::int64_t v = 0; v < vectors; ++v) {
    const std::int64_t d = v * V::kLanes;
    const Floats value = V::load_any(x + d);
    if constexpr (kSum) V::store(sums + d, V::add(V::load(sums + d), value));
    if constexpr (kError) {
      const Floats c = V::load_any(code + d);
      if constexpr (kGather) V::store_any(quantized + d, c);
      const Floats difference = V::subtract(value, c);
      Floats& error = errors[kWhole < 0 ? 0 : v % (kErrors - 1)];
      error = V::add_product(difference, difference, error);
    }
  }
  const std::int64_t d = vectors * V::kLanes;
  const Floats value = V::load_first(x + d, rest);
  if constexpr (kSum) V::store(sums + d, V::add(V::load(sums + d), value));
  if constexpr (kError) {
    const Floats c = V::load_first(code + d, rest);
    if constexpr (kGather) V::store_first(quantized + d, c, rest);
    const Floats difference = V::subtract(value, c);
    errors[kErrors - 1] = V::add_product(difference, difference, errors[kErrors - 1]);
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

template <int kWhole, bool kGather, bool kSum, bool kError>
double settle_all(const CodebookPanels& panels, const Rows& rows, const std::int32_t* chosen,
                  const RowOutputs& outputs, double total) {
  const std::int64_t dim = panels.dim, whole = (dim - 1) / V::kLanes;
  const auto rest = static_cast<int>(dim - whole * V::kLanes);
  // Copies, for a vector that is stored may be anything: members would be read again for every row.
  const float* const codes = panels.codes;
  float* const table = outputs.sums;
  const std::int64_t code_stride = panels.stride, table_stride = outputs.sums_stride;
  const std::int64_t stride = rows.stride, quantized_stride = outputs.quantized_stride;
  const float* x = rows.data;
  float* quantized = outputs.quantized;
  for (std::int64_t first = 0; first < rows.count; first += kRows) {
    const std::int64_t end = rows.count - first < kRows ? rows.count : first + kRows;
    Floats errors[kErrors];
    for (Floats& error : errors) error = V::all(0.0f);
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
      settle_row<kWhole, kGather, kSum, kError>(x, kError ? codes + k * code_stride : nullptr, whole,
                                                rest, to, kSum ? table + k * table_stride : nullptr,
                                                errors);
    }
    if constexpr (!kError) continue;
    // At most kRows * D / kLanes non-negative terms per lane in float32, the rest in float64.
    const float squares =
        V::sum(V::add(V::add(errors[0], errors[1]), V::add(errors[2], errors[3])));
    const bool safe = squares > kSmallestSquares && squares < kLargestSquares;
    total += safe ? static_cast<double>(squares)
                  : exact_squared_error(panels, rows, chosen, first, end);
  }
  return total;
}

template <bool kGather, bool kSum, bool kError>
double settle_wide(const CodebookPanels& panels, const Rows& rows, const std::int32_t* chosen,
                   const RowOutputs& outputs, double total) {
  switch ((panels.dim - 1) / V::kLanes) {
    case 0: return settle_all<0, kGather, kSum, kError>(panels, rows, chosen, outputs, total);
    case 1: return settle_all<1, kGather, kSum, kError>(panels, rows, chosen, outputs, total);
    case 2: return settle_all<2, kGather, kSum, kError>(panels, rows, chosen, outputs, total);
    case 3: return settle_all<3, kGather, kSum, kError>(panels, rows, chosen, outputs, total);
    default: return settle_all<-1, kGather, kSum, kError>(panels, rows, chosen, outputs, total);
  }
}

double settle(const CodebookPanels& panels, const Rows& rows, const std::int32_t* chosen,
              const RowOutputs& outputs, double total) {
  const bool sum = outputs.sums != nullptr;
  if (panels.codes == nullptr) {
    return sum ? settle_wide<false, true, false>(panels, rows, chosen, outputs, total) : total;
  }
  if (outputs.quantized != nullptr) {
    return sum ? settle_wide<true, true, true>(panels, rows, chosen, outputs, total)
               : settle_wide<true, false, true>(panels, rows, chosen, outputs, total);
  }
  return sum ? settle_wide<false, true, true>(panels, rows, chosen, outputs, total)
             : settle_wide<false, false, true>(panels, rows, chosen, outputs, total);
}

}  // namespace
}  // namespace spinlock
