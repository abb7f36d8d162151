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

}  // namespace

void finish_chunks(QuantizerJob& job, std::int64_t num_rows) {
  if (job.statistics == Statistics::kSorted) return sort_by_code(job, num_rows);
  const std::int64_t num_codes = job.panels.num_codes, size = num_codes * job.sums_stride;
  for (std::int64_t chunk = 1; chunk < job.chunks; ++chunk) {
    const float* const sums = job.sums + chunk * size;
    for (std::int64_t i = 0; i < size; ++i) job.sums[i] += sums[i];
    const std::int32_t* const counts = job.counts + chunk * num_codes;
    for (std::int64_t k = 0; k < num_codes; ++k) job.counts[k] += counts[k];
  }
}

void write_statistics(const QuantizerJob& job, const float* rows, std::int64_t row_stride,
                      std::int64_t padded_dim, std::int64_t first, std::int64_t end, float* counts,
                      float* sums) {
  const std::int64_t dim = job.panels.dim;
  for (std::int64_t k = first; k < end; ++k) {
    float* const sum = sums + k * padded_dim;
    if (job.statistics == Statistics::kSorted) {
      const std::int32_t start = job.counts[k], stop = job.counts[k + 1];
      counts[k] = static_cast<float>(stop - start);
      std::fill_n(sum, padded_dim, 0.0f);
      for (std::int32_t i = start; i < stop; ++i) {
        const float* const row = rows + job.order[i] * row_stride;
        for (std::int64_t d = 0; d < dim; ++d) sum[d] += row[d];
      }
    } else if (job.chunks == 0) {
      counts[k] = 0.0f;
      std::fill_n(sum, padded_dim, 0.0f);
    } else {
      counts[k] = static_cast<float>(job.counts[k]);
      const float* const table = job.sums + k * job.sums_stride;
      for (std::int64_t d = 0; d < dim; ++d) sum[d] = table[d];
      for (std::int64_t d = dim; d < padded_dim; ++d) sum[d] = 0.0f;
    }
  }
}

}  // namespace spinlock
