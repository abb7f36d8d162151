#include "quantize_backward.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "errors.hpp"
#include "large_pages.hpp"
#include "padded_rows.hpp"
#include "row_kernels.hpp"
#include "simd/float_mode.hpp"
#include "simd/parallel_for.hpp"

namespace spinlock {
namespace {

constexpr std::int64_t kTaskRows = 128;
// Rows whose codes are gathered before any is read: at once, reads would wait for the writes.
constexpr std::int64_t kBlock = 8;
static_assert(kTaskRows % kBlock == 0);
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

// The codes of some rows side by side, gathered where the step's rows of them were not kept.
class ChosenCodes {
 public:
  ChosenCodes(const BackwardRequest& request, int threads)
      : request_(request), width_(request.plan.input_width) {
    const std::int64_t floats = std::max(threads, 1) * block_floats();
    if (request.quantized == nullptr) memory_.resize(static_cast<std::size_t>(floats));
  }

  // Of up to kBlock rows from `first` on.
  const float* rows(std::int64_t first, std::int64_t count, int thread) {
    if (request_.quantized != nullptr) return request_.quantized + first * width_;
    float* const codes = memory_.data() + thread * block_floats();
    for (std::size_t q = 0; q < request_.plan.num_quantizers(); ++q) gather(q, first, count, codes);
    return codes;
  }

  void throw_if_outside() const {
    const std::int64_t q = outside_.load();
    if (q < 0) return;
    throw_layout_error("indices[:, ", q, "]: expected values in 0..",
                       request_.plan.codebook_sizes[static_cast<std::size_t>(q)] - 1,
                       ", got others; were they changed after the step?");
  }

 private:
  static constexpr std::int64_t kQuad = 4;

  std::int64_t block_floats() const { return whole_lines(kBlock * width_); }

  // All rows of one quantizer before the next one, whose loops are of another length.
  void gather(std::size_t q, std::int64_t first, std::int64_t count, float* to) {
    const PackingPlan& plan = request_.plan;
    const auto quantizers = static_cast<std::int64_t>(plan.num_quantizers());
    const std::int64_t dim = plan.dims[q], stride = plan.padded_dims[q];
    const std::int64_t whole = dim / kQuad * kQuad, num_codes = plan.codebook_sizes[q];
    const float* const codes = request_.weight + plan.weight_offsets[q];
    const std::int64_t* chosen = request_.indices + first * quantizers + static_cast<std::int64_t>(q);
    to += plan.input_offsets[q];
    for (std::int64_t i = 0; i < count; ++i, chosen += quantizers, to += width_) {
      std::int64_t k = *chosen;
      if (k < 0 || k >= num_codes) {
        outside_.store(static_cast<std::int64_t>(q));
        k = 0;
      }
      const float* const code = codes + k * stride;
      for (std::int64_t d = 0; d < whole; d += kQuad) std::memcpy(to + d, code + d, 4 * kQuad);
      for (std::int64_t d = whole; d < dim; ++d) to[d] = code[d];
    }
  }

  const BackwardRequest& request_;
  const std::int64_t width_;
  std::vector<float> memory_;
  std::atomic<std::int64_t> outside_{-1};
};

}  // namespace

void quantize_backward(const BackwardRequest& request, float* grad_latents) {
  const DefaultFloatMode mode;  // for the factors
  const PackingPlan& plan = request.plan;
  const std::int64_t width = plan.input_width, rows = request.num_rows;
  const Factors factors = factors_of(request);
  const RowKernels& kernels = row_kernels(request.isa);
  const std::int64_t tasks = (rows + kTaskRows - 1) / kTaskRows;
  const int threads = rows * width < kFewElements
                          ? 1
                          : static_cast<int>(std::min<std::int64_t>(request.threads, tasks));
  ChosenCodes codes(request, threads);
  prefer_large_pages(grad_latents, rows * width);
  parallel_for(tasks, threads, [&](std::int64_t task, int thread) {
    const std::int64_t end = std::min(rows, (task + 1) * kTaskRows);
    const float* code = nullptr;
    for (std::int64_t row = task * kTaskRows; row < end; ++row, code += width) {
      if (row % kBlock == 0) code = codes.rows(row, std::min(kBlock, end - row), thread);
      const float* const x = request.latents + row * request.latents_stride;
      float* const out = grad_latents + row * width;
      kernels.add_commitment(
          request.grad_quantized == nullptr ? nullptr
                                            : request.grad_quantized + row * request.grad_stride,
          factors.of_column.data(), x, code, width, out);
      if (factors.skipped) close_skipped(plan, x, out);
    }
  });
  codes.throw_if_outside();
}

}  // namespace spinlock
