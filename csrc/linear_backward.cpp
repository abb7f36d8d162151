#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "aligned_buffer.hpp"
#include "linear_panels.hpp"
#include "linear_pieces.hpp"
#include "padded_rows.hpp"
#include "ragged_linear.hpp"
#include "row_blocks.hpp"
#include "row_kernels.hpp"
#include "simd/parallel_for.hpp"

namespace spinlock {
namespace {

// The working memory of one thread.
struct LinearScratch {
  float* packed;  // gradients of a block of rows, of one group
  float* sums;    // gradients of the weights and biases of a piece
};

// A block of rows goes through all that needs its gradients before the next one.
class LinearGradients {
 public:
  LinearGradients(const RaggedLinear& shape, const LinearBackward& call, int threads, Isa isa)
      : shape_(shape),
        call_(call),
        kernels_(row_kernels(isa)),
        pieces_(linear_pieces(shape, threads)),
        row_(whole_lines(shape.most_out)) {
    const std::int64_t pieces = static_cast<std::int64_t>(pieces_.size());
    // The gradient of a row's input depends on no other row.
    const std::int64_t blocks = parts_of(call.rows, RowBlock::kRows);
    by_rows_ = call.grad_input != nullptr && pieces < std::min<std::int64_t>(threads, blocks);
    threads_ = static_cast<int>(std::min<std::int64_t>(threads, by_rows_ ? blocks : pieces));
    if (call.grad_input != nullptr) weight_ = weight_panels(shape, call.weight, true, kernels_);
    for (const LinearPiece& piece : pieces_) most_sums_ = std::max(most_sums_, sums_of(piece));
    scratch_ = allocate_floats(scratch_size() * threads_);
  }

  void add_up() {
    if (by_rows_) {
      parallel_for(parts_of(call_.rows, RowBlock::kRows), threads_,
                   [this](std::int64_t task, int thread) { take_rows(task, scratch(thread)); });
    }
    if (by_rows_ && call_.grad_weight == nullptr && call_.grad_bias == nullptr) return;
    parallel_for(static_cast<std::int64_t>(pieces_.size()), threads_,
                 [this](std::int64_t task, int thread) {
                   take(pieces_[static_cast<std::size_t>(task)], scratch(thread));
                 });
  }

 private:
  // Behind the sums of the weights, those of the biases: a row per slab.
  std::int64_t sums_of(const LinearPiece& piece) const {
    return piece.weights + static_cast<std::int64_t>(piece.slabs.size()) * row_;
  }

  std::int64_t scratch_size() const { return RowBlock::kRows * row_ + most_sums_; }

  LinearScratch scratch(int thread) const {
    float* const own = scratch_.get() + thread * scratch_size();
    return {own, own + RowBlock::kRows * row_};
  }

  // The gradients of a block's inputs.
  void take_rows(std::int64_t task, const LinearScratch& scratch) const {
    const std::int64_t first = task * RowBlock::kRows;
    const RowBlock block{first, std::min(RowBlock::kRows, call_.rows - first), 0};
    std::fill(scratch.sums, scratch.sums + row_, 0.0f);
    for (std::int64_t g = 0; g < shape_.num_groups(); ++g) {
      const LinearSlab slab{g, 0, shape_.in_widths[static_cast<std::size_t>(g)], 0};
      pack(slab, block, scratch.packed, scratch.sums);
      multiply_weight(slab, shape_.in_width, block, scratch.packed);
    }
  }

  void take(const LinearPiece& piece, const LinearScratch& scratch) const {
    const std::int64_t end = in_column(piece.slabs.back()) + piece.slabs.back().end;
    std::fill(scratch.sums + piece.weights, scratch.sums + sums_of(piece), 0.0f);
    for (std::int64_t first = 0; first < call_.rows; first += RowBlock::kRows) {
      const RowBlock block = RowBlock::of(first, call_.rows);
      float* bias = scratch.sums + piece.weights;
      for (const LinearSlab& slab : piece.slabs) {
        pack(slab, block, scratch.packed, bias);
        if (call_.grad_input != nullptr && !by_rows_) {
          multiply_weight(slab, end, block, scratch.packed);
        }
        if (call_.grad_weight != nullptr) multiply_input(slab, block, scratch);
        bias += row_;
      }
    }
    const float* bias = scratch.sums + piece.weights;
    for (const LinearSlab& slab : piece.slabs) {
      if (call_.grad_weight != nullptr) put_weight(slab, scratch.sums + slab.sums);
      if (call_.grad_bias != nullptr && slab.column == 0) {
        float* const to = call_.grad_bias + slab.group * shape_.most_out;
        put_padded(bias, out_width(slab), to, shape_.most_out);
      }
      bias += row_;
    }
  }

  void pack(const LinearSlab& slab, const RowBlock& block, float* packed, float* bias) const {
    const std::int64_t out = out_column(slab);
    const float* output = call_.output;
    if (output != nullptr) output += block.first * shape_.out_width + out;
    kernels_.pack_gradient({output, shape_.out_width,
                            call_.grad + block.first * call_.grad_stride + out, call_.grad_stride,
                            packed, row_, bias, block.rows, out_width(slab)});
  }

  // The gradient of the slab's columns of the input; those up to `last`, which are written later,
  // may be written over.
  void multiply_weight(const LinearSlab& slab, std::int64_t last, const RowBlock& block,
                       const float* packed) const {
    const std::int64_t end = in_column(slab) + slab.end;
    float* const to = call_.grad_input + block.first * shape_.in_width + in_column(slab);
    Product product{packed, row_, 1, weight_.at(slab.group) + slab.column, weight_.row, nullptr, 0,
                    to + slab.column, shape_.in_width, block.rows, slab.end - slab.column,
                    out_width(slab), false, last - end};
    product.next = {next_gradients(slab, block),
                    next_inputs(slab, block, call_.grad_input, shape_.in_width)};
    multiply_deep(kernels_, product);
  }

  // Adds to the gradient of the slab's rows of the weight.
  void multiply_input(const LinearSlab& slab, const RowBlock& block,
                      const LinearScratch& scratch) const {
    const std::int64_t out = out_width(slab), row = whole_lines(out);
    float* const sums = scratch.sums + slab.sums;
    Product product{call_.input + block.first * call_.input_stride + in_column(slab) + slab.column,
                    1, call_.input_stride, scratch.packed, row_,
                    block.first == 0 ? nullptr : sums, row, sums, row, slab.end - slab.column, out,
                    block.rows, false, row - out};
    product.next = {next_inputs(slab, block, call_.input, call_.input_stride),
                    next_outputs(slab, block, call_.output, shape_.out_width)};
    if (call_.grad_input == nullptr || by_rows_) product.next[2] = next_gradients(slab, block);
    kernels_.multiply(product);
  }

  void put_weight(const LinearSlab& slab, const float* sums) const {
    const std::int64_t out = out_width(slab), row = whole_lines(out);
    const std::int64_t in = shape_.in_widths[static_cast<std::size_t>(slab.group)];
    const std::int64_t to_row = shape_.transposed ? shape_.most_in : shape_.most_out;
    const std::int64_t size = shape_.most_in * shape_.most_out;
    float* const to = call_.grad_weight + slab.group * size;
    if (shape_.transposed) {
      kernels_.turn({sums, row, slab.end - slab.column, out, to + slab.column, to_row});
    } else {
      for (std::int64_t i = slab.column; i < slab.end; ++i, sums += row) {
        put_padded(sums, out, to + i * to_row, to_row);
      }
    }
    if (slab.end < in) return;
    const std::int64_t rows = shape_.transposed ? out : in;
    for (std::int64_t r = 0; shape_.transposed && r < rows; ++r) {
      std::fill(to + r * to_row + in, to + (r + 1) * to_row, 0.0f);
    }
    std::fill(to + rows * to_row, to + size, 0.0f);
  }

  Stretch next_gradients(const LinearSlab& slab, const RowBlock& block) const {
    return next_outputs(slab, block, call_.grad, call_.grad_stride);
  }

  Stretch next_outputs(const LinearSlab& slab, const RowBlock& block, const float* data,
                       std::int64_t stride) const {
    const std::int64_t column = out_column(slab), end = column + out_width(slab);
    return block.next(data, stride, shape_.out_width, column, end, pieces_.size() == 1);
  }

  Stretch next_inputs(const LinearSlab& slab, const RowBlock& block, const float* data,
                      std::int64_t stride) const {
    const std::int64_t column = in_column(slab);
    return block.next(data, stride, shape_.in_width, column + slab.column, column + slab.end,
                      pieces_.size() == 1);
  }

  std::int64_t in_column(const LinearSlab& slab) const {
    return shape_.in_offsets[static_cast<std::size_t>(slab.group)];
  }
  std::int64_t out_column(const LinearSlab& slab) const {
    return shape_.out_offsets[static_cast<std::size_t>(slab.group)];
  }
  std::int64_t out_width(const LinearSlab& slab) const {
    return shape_.out_widths[static_cast<std::size_t>(slab.group)];
  }

  const RaggedLinear& shape_;
  const LinearBackward& call_;
  const RowKernels& kernels_;
  const std::vector<LinearPiece> pieces_;
  const std::int64_t row_;  // of packed gradients
  bool by_rows_ = false;    // the gradient of the input; else with that of the weight, by pieces
  int threads_ = 1;
  PaddedRows weight_;
  std::int64_t most_sums_ = 0;
  AlignedFloats scratch_;
};

}  // namespace

void ragged_linear_backward(const RaggedLinear& shape, const LinearBackward& call, int threads,
                            Isa isa) {
  if (call.rows > 0) {
    LinearGradients(shape, call, std::max(threads, 1), isa).add_up();
    return;
  }
  if (call.grad_weight != nullptr) {
    std::fill(call.grad_weight, call.grad_weight + shape.weight_size(), 0.0f);
  }
  if (call.grad_bias != nullptr) {
    std::fill(call.grad_bias, call.grad_bias + shape.bias_size(), 0.0f);
  }
}

}  // namespace spinlock
