#pragma once

#include <algorithm>
#include <cstdint>

#include "padded_rows.hpp"
#include "quantize_rows.hpp"
#include "row_kernels.hpp"

namespace spinlock {

// What is fetched into a cache before its turn: lines of the rows, codes and indices of the next tile,
// a few by each quantizer. Where all quantizers take the same rows in step, those of a quantizer are a
// stretch of memory in place of its own columns: the machine's prefetchers follow lines side by side,
// but do not find columns that lie 1 KB apart. Rows with gaps between them are fetched one by one:
// what lies in the gaps may be many times what is read.
class FetchAhead {
 public:
  FetchAhead(const QuantizeRequest& request, const QuantizeOutputs& outputs, bool in_step)
      : request_(request), outputs_(outputs), in_step_(in_step) {}

  // Of the rows from `first` on.
  Upcoming rows(std::int64_t quantizer, std::int64_t first) const {
    return upcoming(request_.latents, request_.row_stride, quantizer, first);
  }

  // Of the codes that go to these rows.
  Upcoming codes(std::int64_t quantizer, std::int64_t first) const {
    return upcoming(outputs_.quantized, request_.plan.input_width, quantizer, first);
  }

  // Now, its share of everything in the first tile. Inlined, for GCC takes calls of a function that
  // only prefetches for calls without effect.
  [[gnu::always_inline]] void fetch_first(std::int64_t quantizer) const {
    if (apart(request_.row_stride)) {
      fetch_columns(quantizer);
    } else {
      fetch<0>(request_.latents, request_.row_stride, quantizer, 0);
    }
    fetch<1>(outputs_.quantized, request_.plan.input_width, quantizer, 0);
    fetch_indices(quantizer, 0);
  }

  // Now, its share of the indices of the tile that begins with row `first`: none unless in step, for
  // alone it would bring in the lines of all quantizers.
  [[gnu::always_inline]] void fetch_indices(std::int64_t quantizer, std::int64_t first) const {
    if (!in_step_) return;
    constexpr std::int64_t kFloats = sizeof(std::int64_t) / sizeof(float);
    fetch<1>(reinterpret_cast<const float*>(outputs_.indices), kFloats * quantizers(), quantizer,
             first);
  }

 private:
  static constexpr std::int64_t kLine = kLineFloats;

  std::int64_t quantizers() const {
    return static_cast<std::int64_t>(request_.plan.num_quantizers());
  }

  // Whether more than a line lies between the rows of a matrix as wide as the latents.
  bool apart(std::int64_t stride) const { return stride > request_.plan.input_width + kLine; }

  std::int64_t rows_of_tile(std::int64_t first) const {
    return std::min(kTileRows, request_.num_rows - first);
  }

  Upcoming upcoming(const float* memory, std::int64_t stride, std::int64_t quantizer,
                    std::int64_t first) const {
    const std::int64_t rows = rows_of_tile(first);
    if (rows <= 0 || stride == 0) return {};
    const float* const tile = memory + first * stride;
    const std::int64_t offset = request_.plan.input_offsets[static_cast<std::size_t>(quantizer)];
    if (!in_step_ || apart(stride)) return {tile + offset, stride, rows};
    if (stride == request_.plan.input_width) return {tile + rows * offset, 0, rows};
    // Of rows up to a line apart, the last few elements of each share stay out.
    return {tile + rows * offset * stride / request_.plan.input_width, 0, rows};
  }

  // The quantizer's own columns of the first tile of rows.
  [[gnu::always_inline]] void fetch_columns(std::int64_t quantizer) const {
    const auto q = static_cast<std::size_t>(quantizer);
    const float* row = request_.latents + request_.plan.input_offsets[q];
    for (std::int64_t left = rows_of_tile(0); left > 0; --left, row += request_.row_stride) {
      for (std::int64_t d = 0; d < request_.plan.dims[q]; d += kLine) {
        __builtin_prefetch(row + d, 0, 2);
      }
    }
  }

  template <int kWrite>
  [[gnu::always_inline]] void fetch(const float* memory, std::int64_t stride,
                                    std::int64_t quantizer, std::int64_t first) const {
    const std::int64_t rows = rows_of_tile(first);
    if (memory == nullptr || rows <= 0) return;
    const std::int64_t lines = (rows * stride + kLine - 1) / kLine, parts = quantizers();
    const float* const tile = memory + first * stride;
    const float* const begin = tile + lines * quantizer / parts * kLine;
    const float* const end = tile + lines * (quantizer + 1) / parts * kLine;
    for (const float* line = begin; line < end; line += kLine) __builtin_prefetch(line, kWrite, 2);
  }

  const QuantizeRequest& request_;
  const QuantizeOutputs& outputs_;
  const bool in_step_;
};

}  // namespace spinlock
