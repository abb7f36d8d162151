#include "quantize_backward.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "row_kernels.hpp"
#include "simd/float_mode.hpp"
#include "simd/parallel_for.hpp"

namespace spinlock {
namespace {

constexpr std::int64_t kTaskRows = 128;
// Elements below which a second thread costs more than it takes over.
constexpr std::int64_t kFewElements = std::int64_t{1} << 16;

// What x - code of each column is multiplied by.
struct Factors {
  std::vector<float> of_column;
  bool skipped = false;  // whether a quantizer left rows out
};

Factors factors_of(const BackwardRequest& request) {
  const PackingPlan& plan = request.plan;
  Factors factors;
  factors.of_column.reserve(static_cast<std::size_t>(plan.input_width));
  for (std::size_t q = 0; q < plan.num_quantizers(); ++q) {
    const std::int64_t* const counts = request.counts + plan.code_offsets[q];
    const std::int64_t rows =
        std::accumulate(counts, counts + plan.codebook_sizes[q], std::int64_t{0});
    factors.skipped |= rows != request.num_rows;
    const float loss = request.grad_losses[static_cast<std::int64_t>(q) * request.losses_stride];
    const auto terms = static_cast<float>(std::max<std::int64_t>(rows * plan.dims[q], 1));
    factors.of_column.insert(factors.of_column.end(), static_cast<std::size_t>(plan.dims[q]),
                             2.0f * loss / terms);
  }
  return factors;
}

void close_skipped(const PackingPlan& plan, const float* row, float* grad) {
  for (std::size_t q = 0; q < plan.num_quantizers(); ++q) {
    const float* const first = row + plan.input_offsets[q];
    const bool usable = std::all_of(first, first + plan.dims[q],
                                    [](float value) { return std::isfinite(value); });
    if (!usable) std::fill_n(grad + plan.input_offsets[q], plan.dims[q], 0.0f);
  }
}

}  // namespace

void quantize_backward(const BackwardRequest& request, float* grad_latents) {
  const DefaultFloatMode mode;  // for the factors
  const PackingPlan& plan = request.plan;
  const std::int64_t width = plan.input_width, rows = request.num_rows;
  const Factors factors = factors_of(request);
  const RowKernels& kernels = row_kernels(request.isa);
  const int threads = rows * width < kFewElements ? 1 : request.threads;
  parallel_for((rows + kTaskRows - 1) / kTaskRows, threads, [&](std::int64_t task, int) {
    const std::int64_t end = std::min(rows, (task + 1) * kTaskRows);
    for (std::int64_t row = task * kTaskRows; row < end; ++row) {
      const float* const x = request.latents + row * request.latents_stride;
      float* const out = grad_latents + row * width;
      kernels.add_commitment(
          request.grad_quantized == nullptr ? nullptr
                                            : request.grad_quantized + row * request.grad_stride,
          factors.of_column.data(), x, request.quantized + row * width, width, out);
      if (factors.skipped) close_skipped(plan, x, out);
    }
  });
}

}  // namespace spinlock
