#include "ragged_linear.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "aligned_buffer.hpp"
#include "checked_math.hpp"
#include "errors.hpp"
#include "row_kernels.hpp"
#include "simd/parallel_for.hpp"

namespace spinlock {
namespace {

// Rows of a task, and terms of a sum that run through before its registers are put down: 3 vectors
// of so many rows stay in the L1 cache.
constexpr std::int64_t kTaskRows = 128;
constexpr std::int64_t kDepth = 128;
constexpr float kOne = 1.0f;

template <typename Fail>
std::vector<std::int64_t> offsets_of(const std::vector<std::int64_t>& widths, const Fail& fail) {
  std::vector<std::int64_t> offsets{0};
  for (const std::int64_t width : widths) {
    offsets.push_back(checked_add(offsets.back(), width, fail));
  }
  return offsets;
}

// Whether panels of so many groups fit memory, as weight_panels lays them out.
template <typename Fail>
void require_panels(std::int64_t groups, std::int64_t rows, std::int64_t columns,
                    const Fail& fail) {
  const std::int64_t row = checked_round_up(columns, kBaseAlignment, fail);
  const std::int64_t block = checked_multiply(row, rows, fail);
  if (checked_multiply(block, groups, fail) > kMaxElements) fail();
}

std::int64_t tasks_of(std::int64_t count, std::int64_t each) { return (count + each - 1) / each; }

// Matrices of all groups with rows that begin on cache lines: unaligned vectors cost twice.
struct Panels {
  AlignedFloats memory;
  const float* data;
  std::int64_t block, row;  // of a group, of one of its rows
};

std::int64_t aligned_row(std::int64_t width) {
  return (width + kBaseAlignment - 1) / kBaseAlignment * kBaseAlignment;
}

// [in, out] of every group, or [out, in] if `turned`: the weight itself where it lies like that.
Panels weight_panels(const RaggedLinear& shape, const float* weight, bool turned) {
  const std::int64_t from_block = shape.most_in * shape.most_out;
  const std::int64_t from_row = shape.transposed ? shape.most_in : shape.most_out;
  const bool copies = turned == shape.transposed;
  const auto address = reinterpret_cast<std::uintptr_t>(weight);
  if (copies && from_row % kBaseAlignment == 0 && address % kBufferAlignmentBytes == 0) {
    return {AlignedFloats(), weight, from_block, from_row};
  }
  const std::int64_t row = aligned_row(turned ? shape.most_in : shape.most_out);
  const std::int64_t block = row * (turned ? shape.most_out : shape.most_in);
  AlignedFloats memory = allocate_floats(block * shape.num_groups());
  for (std::int64_t g = 0; g < shape.num_groups(); ++g) {
    const auto at = static_cast<std::size_t>(g);
    const std::int64_t rows = (turned ? shape.out_widths : shape.in_widths)[at];
    const std::int64_t columns = (turned ? shape.in_widths : shape.out_widths)[at];
    const float* const from = weight + g * from_block;
    float* const to = memory.get() + g * block;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) {
        to[r * row + c] = copies ? from[r * from_row + c] : from[c * from_row + r];
      }
    }
  }
  const float* const data = memory.get();
  return {std::move(memory), data, block, row};
}

// In chunks of kDepth terms, so that what all rows read of b stays in the cache.
void multiply_deep(const RowKernels& kernels, Product product) {
  const std::int64_t depth = product.depth;
  const bool positive = product.positive;
  for (std::int64_t done = 0; done == 0 || done < depth; done += kDepth) {
    product.depth = std::min(kDepth, depth - done);
    product.positive = positive && done + kDepth >= depth;
    kernels.multiply(product);
    product.a += kDepth * product.a_column;
    product.b += kDepth * product.b_row;
    product.b_readable -= kDepth * product.b_row;
    product.start = product.out;
    product.start_row = product.out_row;
  }
}

// [rows, out_width]: the gradient where the output is above 0.
AlignedFloats gated(const RowKernels& kernels, const RaggedLinear& shape,
                    const LinearBackward& call, int threads) {
  AlignedFloats passed = allocate_floats(call.rows * shape.out_width);
  const std::int64_t width = shape.out_width;
  parallel_for(tasks_of(call.rows, kTaskRows), threads, [&](std::int64_t task, int) {
    const std::int64_t end = std::min(call.rows, (task + 1) * kTaskRows);
    for (std::int64_t r = task * kTaskRows; r < end; ++r) {
      kernels.pass_where_positive(call.output + r * width, call.grad + r * call.grad_stride, width,
                                  passed.get() + r * width);
    }
  });
  return passed;
}

}  // namespace

RaggedLinear::RaggedLinear(std::vector<std::int64_t> ins, std::vector<std::int64_t> outs,
                           bool out_by_in)
    : in_widths(std::move(ins)), out_widths(std::move(outs)), transposed(out_by_in) {
  if (in_widths.empty() || in_widths.size() != out_widths.size()) {
    throw_layout_error("in_widths and out_widths: expected one of each per group, got ",
                       in_widths.size(), " and ", out_widths.size(), "; give both for every group");
  }
  most_in = *std::max_element(in_widths.begin(), in_widths.end());
  most_out = *std::max_element(out_widths.begin(), out_widths.end());
  const std::int64_t least = std::min(*std::min_element(in_widths.begin(), in_widths.end()),
                                      *std::min_element(out_widths.begin(), out_widths.end()));
  if (least < 1) {
    throw_layout_error("in_widths and out_widths: expected 1 or more, got ", least,
                       "; leave groups without columns out");
  }
  const auto too_large = [this] {
    throw_layout_error("in_widths and out_widths: expected weights of at most ", kMaxElements,
                       " float32 elements (2^63 - 1 bytes), got more: ", num_groups(),
                       " groups of up to ", most_in, " x ", most_out, "; use narrower maps");
  };
  require_panels(num_groups(), most_in, most_out, too_large);
  require_panels(num_groups(), most_out, most_in, too_large);
  in_offsets = offsets_of(in_widths, too_large);
  out_offsets = offsets_of(out_widths, too_large);
  in_width = in_offsets.back();
  out_width = out_offsets.back();
}

void ragged_linear_forward(const RaggedLinear& shape, const LinearForward& call, int threads,
                           Isa isa) {
  if (call.rows == 0) return;
  const RowKernels& kernels = row_kernels(isa);
  const Panels weight = weight_panels(shape, call.weight, false);
  parallel_for(tasks_of(call.rows, kTaskRows), threads, [&](std::int64_t task, int) {
    const std::int64_t first = task * kTaskRows;
    const std::int64_t rows = std::min(kTaskRows, call.rows - first);
    for (std::int64_t g = 0; g < shape.num_groups(); ++g) {
      const auto at = static_cast<std::size_t>(g);
      const std::int64_t out = first * shape.out_width + shape.out_offsets[at];
      const float* start = nullptr;
      if (call.bias != nullptr) start = call.bias + g * shape.most_out;
      if (call.addend != nullptr) start = call.addend + out;
      multiply_deep(kernels, {call.input + first * call.input_stride + shape.in_offsets[at],
                              call.input_stride, 1, weight.data + g * weight.block, weight.row, weight.block, start,
                              call.addend == nullptr ? 0 : shape.out_width, call.output + out,
                              shape.out_width, rows, shape.out_widths[at], shape.in_widths[at],
                              call.positive});
    }
  });
}

void ragged_linear_backward(const RaggedLinear& shape, const LinearBackward& call, int threads,
                            Isa isa) {
  const RowKernels& kernels = row_kernels(isa);
  const std::int64_t block = shape.most_in * shape.most_out;
  const bool gate = call.output != nullptr && call.rows > 0;
  const AlignedFloats passed = gate ? gated(kernels, shape, call, threads) : AlignedFloats();
  const float* const grad = gate ? passed.get() : call.grad;
  const std::int64_t stride = gate ? shape.out_width : call.grad_stride;
  if (call.grad_input != nullptr && call.rows > 0) {
    const Panels weight = weight_panels(shape, call.weight, true);
    parallel_for(tasks_of(call.rows, kTaskRows), threads, [&](std::int64_t task, int) {
      const std::int64_t first = task * kTaskRows;
      const std::int64_t rows = std::min(kTaskRows, call.rows - first);
      for (std::int64_t g = 0; g < shape.num_groups(); ++g) {
        const auto at = static_cast<std::size_t>(g);
        multiply_deep(kernels, {grad + first * stride + shape.out_offsets[at], stride, 1,
                                weight.data + g * weight.block, weight.row, weight.block, nullptr,
                                0,
                                call.grad_input + first * shape.in_width + shape.in_offsets[at],
                                shape.in_width, rows, shape.in_widths[at], shape.out_widths[at],
                                false});
      }
    });
  }
  // One task per group: sums over all rows have one order.
  parallel_for(shape.num_groups(), threads, [&](std::int64_t g, int) {
    const auto at = static_cast<std::size_t>(g);
    const float* const input = call.input + shape.in_offsets[at];
    const float* const output_grad = grad + shape.out_offsets[at];
    // To the end of the last row; where there are none, nothing is read.
    const std::int64_t input_left =
        (call.rows - 1) * call.input_stride + shape.in_width - shape.in_offsets[at];
    const std::int64_t grad_left = (call.rows - 1) * stride + shape.out_width - shape.out_offsets[at];
    if (call.grad_weight != nullptr) {
      float* const to = call.grad_weight + g * block;
      std::fill(to, to + block, 0.0f);
      Product product{input, 1, call.input_stride, output_grad, stride, grad_left, nullptr, 0, to,
                      shape.most_out, shape.in_widths[at], shape.out_widths[at], call.rows, false};
      if (shape.transposed) {
        product = {output_grad, 1, stride, input, call.input_stride, input_left, nullptr, 0, to,
                   shape.most_in,
                   shape.out_widths[at], shape.in_widths[at], call.rows, false};
      }
      multiply_deep(kernels, product);
    }
    if (call.grad_bias != nullptr) {
      float* const to = call.grad_bias + g * shape.most_out;
      std::fill(to, to + shape.most_out, 0.0f);
      multiply_deep(kernels, {&kOne, 0, 0, output_grad, stride, grad_left, nullptr, 0, to, shape.most_out, 1,
                              shape.out_widths[at], call.rows, false});
    }
  });
}

}  // namespace spinlock
