#include "accumulate_codes.hpp"

#include <algorithm>

#include "row_kernels.hpp"

namespace spinlock {
namespace {

void sort_by_code(QuantizerJob& job, std::int64_t num_rows) {
  const std::int64_t num_codes = job.panels.num_codes;
  std::int32_t* const starts = job.counts;
  std::fill_n(starts, num_codes + 1, 0);
  for (std::int64_t i = 0; i < num_rows; ++i) {
    if (job.chosen[i] != kSkipped) ++starts[job.chosen[i] + 1];
  }
  for (std::int64_t k = 0; k < num_codes; ++k) starts[k + 1] += starts[k];
  for (std::int64_t i = 0; i < num_rows; ++i) {
    if (job.chosen[i] != kSkipped) job.order[starts[job.chosen[i]]++] = static_cast<std::int32_t>(i);
  }
  // Each start has moved to the next one.
  for (std::int64_t k = num_codes; k > 0; --k) starts[k] = starts[k - 1];
  starts[0] = 0;
}

void add(const float* __restrict values, std::int64_t count, double* __restrict total) {
  for (std::int64_t d = 0; d < count; ++d) total[d] += static_cast<double>(values[d]);
}

}  // namespace

void count_codes(QuantizerJob& job, std::int64_t num_rows, std::int64_t* counts) {
  const std::int64_t num_codes = job.panels.num_codes;
  if (job.statistics == Statistics::kSorted) {
    sort_by_code(job, num_rows);
    for (std::int64_t k = 0; k < num_codes; ++k) counts[k] = job.counts[k + 1] - job.counts[k];
    return;
  }
  for (std::int64_t k = 0; k < num_codes; ++k) {
    std::int64_t total = 0;
    for (std::int64_t c = 0; c < job.chunks; ++c) total += job.counts[c * num_codes + k];
    counts[k] = total;
  }
}

std::int64_t sum_floats(std::int64_t dim) { return 3 * dim; }

const float* sum_code(const QuantizerJob& job, const float* rows, std::int64_t row_stride,
                      std::int64_t code, float* memory) {
  const std::int64_t dim = job.panels.dim, stride = job.sums_stride;
  const bool sorted = job.statistics == Statistics::kSorted;
  if (!sorted && job.chunks == 1) return job.sums + code * stride;
  auto* const total = reinterpret_cast<double*>(memory);
  std::fill_n(total, dim, 0.0);
  if (sorted) {
    for (std::int32_t i = job.counts[code]; i < job.counts[code + 1]; ++i) {
      add(rows + job.order[i] * row_stride, dim, total);
    }
  } else {
    const std::int64_t size = job.panels.num_codes * stride;
    for (std::int64_t c = 0; c < job.chunks; ++c) {
      if (job.counts[c * job.panels.num_codes + code] == 0) continue;
      add(job.sums + c * size + code * stride, dim, total);
    }
  }
  float* const sum = memory + 2 * dim;
  for (std::int64_t d = 0; d < dim; ++d) sum[d] = static_cast<float>(total[d]);
  return sum;
}

}  // namespace spinlock
