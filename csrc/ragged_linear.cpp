#include "ragged_linear.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "checked_math.hpp"
#include "errors.hpp"
#include "linear_panels.hpp"
#include "row_blocks.hpp"
#include "row_kernels.hpp"
#include "simd/parallel_for.hpp"

namespace spinlock {
namespace {

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
  threads = std::max(threads, 1);
  const RowKernels& kernels = row_kernels(isa);
  const PaddedRows weight = weight_panels(shape, call.weight, false, kernels);
  const PaddedRows bias = padded_rows(shape.out_widths, shape.most_out, call.bias);
  const auto forward_block = [&](const RowBlock& block) {
    for (std::int64_t g = 0; g < shape.num_groups(); ++g) {
      const auto at = static_cast<std::size_t>(g);
      const std::int64_t in = shape.in_offsets[at], in_end = in + shape.in_widths[at];
      const std::int64_t out = shape.out_offsets[at], out_end = out + shape.out_widths[at];
      const std::int64_t to = block.first * shape.out_width + out;
      // What the groups to the right write later may be written over.
      Product product{call.input + block.first * call.input_stride + in, call.input_stride, 1,
                      weight.at(g), weight.row, nullptr, 0, call.output + to, shape.out_width,
                      block.rows, out_end - out, in_end - in, call.positive,
                      shape.out_width - out_end};
      if (call.bias != nullptr) product.start = bias.at(g);
      if (call.addend != nullptr) {
        product.start = call.addend + to;
        product.start_row = shape.out_width;
      }
      product.next = {
          block.next(call.input, call.input_stride, shape.in_width, in, in_end, true),
          block.next(call.output, shape.out_width, shape.out_width, out, out_end, true),
          block.next(call.addend, shape.out_width, shape.out_width, out, out_end, true)};
      multiply_deep(kernels, product);
    }
  };
  // A thread takes several blocks at a time: it fetches the next ones of its own.
  const std::int64_t blocks = parts_of(call.rows, RowBlock::kRows);
  const std::int64_t each =
      threads == 1 ? blocks : std::max(std::int64_t{1}, blocks / (4 * threads));
  parallel_for(parts_of(blocks, each), threads, [&](std::int64_t task, int) {
    const std::int64_t end = std::min(call.rows, (task + 1) * each * RowBlock::kRows);
    for (std::int64_t first = task * each * RowBlock::kRows; first < end;
         first += RowBlock::kRows) {
      forward_block(RowBlock::of(first, end));
    }
  });
}

}  // namespace spinlock
