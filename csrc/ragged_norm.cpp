#include "ragged_norm.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "checked_math.hpp"
#include "errors.hpp"
#include "padded_rows.hpp"
#include "row_blocks.hpp"
#include "row_kernels.hpp"
#include "simd/parallel_for.hpp"

namespace spinlock {

RaggedNorm::RaggedNorm(std::vector<std::int64_t> each) : widths(std::move(each)) {
  const auto too_large = [this] {
    throw_layout_error("widths: expected rows of at most ", kMaxElements,
                       " float32 elements (2^63 - 1 bytes), and sums for as many, got more: ",
                       num_segments(), " segments of up to ", most, "; use narrower ones");
  };
  if (widths.empty() || *std::min_element(widths.begin(), widths.end()) < 1) {
    throw_layout_error("widths: expected one or more, of 1 or more, got ", widths.size(),
                       widths.empty() ? "" : ", some of them below 1",
                       "; leave segments without columns out");
  }
  most = *std::max_element(widths.begin(), widths.end());
  offsets.push_back(0);
  for (const std::int64_t one : widths) {
    offsets.push_back(checked_add(offsets.back(), one, too_large));
  }
  width = offsets.back();
  const std::int64_t row = checked_round_up(most, kBaseAlignment, too_large);
  if (checked_multiply(row, num_segments(), too_large) > kMaxElements / 2) too_large();
}

void ragged_norm_forward(const RaggedNorm& shape, const NormForward& call, int threads, Isa isa) {
  if (call.rows == 0) return;
  const RowKernels& kernels = row_kernels(isa);
  const PaddedRows weight = padded_rows(shape.widths, shape.most, call.weight);
  const PaddedRows bias = padded_rows(shape.widths, shape.most, call.bias);
  parallel_for(parts_of(call.rows, RowBlock::kRows), threads, [&](std::int64_t block, int) {
    const std::int64_t first = block * RowBlock::kRows;
    for (std::int64_t g = 0; g < shape.num_segments(); ++g) {
      const auto at = static_cast<std::size_t>(g);
      kernels.normalise({call.input + first * call.input_stride + shape.offsets[at],
                         call.input_stride, weight.at(g), bias.at(g), call.epsilon,
                         call.output + first * shape.width + shape.offsets[at], shape.width,
                         call.moments + first * shape.moments_width() + 2 * g,
                         shape.moments_width(), std::min(RowBlock::kRows, call.rows - first),
                         shape.widths[at]});
    }
  });
}

void ragged_norm_backward(const RaggedNorm& shape, const NormBackward& call, int threads,
                          Isa isa) {
  const RowKernels& kernels = row_kernels(isa);
  const std::int64_t segments = shape.num_segments();
  const PaddedRows weight = padded_rows(shape.widths, shape.most, call.weight);
  const std::int64_t row = whole_lines(shape.most);
  const AlignedFloats sums = allocate_floats(2 * segments * row);
  std::fill(sums.get(), sums.get() + 2 * segments * row, 0.0f);
  // Some segments, of all rows: sums over the rows have one order.
  const std::int64_t parts = std::clamp<std::int64_t>(threads, 1, segments);
  parallel_for(parts, threads, [&](std::int64_t part, int) {
    const std::int64_t begin = segments * part / parts, end = segments * (part + 1) / parts;
    for (std::int64_t first = 0; first < call.rows; first += RowBlock::kRows) {
      const std::int64_t rows = std::min(RowBlock::kRows, call.rows - first);
      for (std::int64_t g = begin; g < end; ++g) {
        const std::int64_t column = shape.offsets[static_cast<std::size_t>(g)];
        float* to = call.grad_input;
        if (to != nullptr) to += first * shape.width + column;
        kernels.norm_gradients({call.input + first * call.input_stride + column, call.input_stride,
                                call.moments + first * shape.moments_width() + 2 * g,
                                shape.moments_width(), weight.at(g),
                                call.grad + first * call.grad_stride + column, call.grad_stride, to,
                                shape.width, sums.get() + 2 * g * row,
                                sums.get() + (2 * g + 1) * row, rows,
                                shape.widths[static_cast<std::size_t>(g)]});
      }
    }
  });
  const auto put = [&](const float* from, float* to) {
    if (to == nullptr) return;
    for (const std::int64_t width : shape.widths) {
      put_padded(from, width, to, shape.most);
      from += 2 * row;
      to += shape.most;
    }
  };
  put(sums.get(), call.grad_weight);
  put(sums.get() + row, call.grad_bias);
}

}  // namespace spinlock
