#include "step_results.hpp"

#include <algorithm>

#include "accumulate_codes.hpp"
#include "refresh_codes.hpp"

namespace spinlock {

void StepResults::finish(QuantizerJob& job) const {
  double error = 0.0;
  std::int64_t skipped = 0;
  for (std::int64_t chunk = 0; chunk < job.chunks; ++chunk) {
    error += job.errors[chunk];
    skipped += job.skipped[chunk];
  }
  const auto q = static_cast<std::size_t>(job.quantizer);
  const std::int64_t terms = (request_.num_rows - skipped) * job.panels.dim;
  job.loss = static_cast<float>(error / static_cast<double>(std::max<std::int64_t>(terms, 1)));
  if (outputs_.squared_error != nullptr) outputs_.squared_error[q] = error;
  if (outputs_.losses != nullptr) outputs_.losses[q] = job.loss;
  if (outputs_.skipped != nullptr) outputs_.skipped[q] = skipped;
  if (outputs_.counts == nullptr) return;
  std::int64_t* const counts = outputs_.counts + request_.plan.code_offsets[q];
  count_codes(job, request_.num_rows, counts);
  const CodeState* const state = outputs_.state;
  if (state == nullptr) return;
  job.refresh.emplace(request_.plan, q, *state);
  job.refresh->count(counts);
  if (state->epoch_skipped != nullptr) state->epoch_skipped[q] += skipped;
  if (state->epoch_counts == nullptr) return;
  std::int64_t* const epoch = state->epoch_counts + request_.plan.code_offsets[q];
  for (std::int64_t k = 0; k < job.panels.num_codes; ++k) epoch[k] += counts[k];
}

void StepResults::write_codes(const QuantizerJob& job, std::int64_t first, std::int64_t end,
                              float* memory) const {
  if (outputs_.sums == nullptr && outputs_.state == nullptr) return;
  const PackingPlan& plan = request_.plan;
  const auto q = static_cast<std::size_t>(job.quantizer);
  const std::int64_t dim = job.panels.dim, stride = plan.padded_dims[q];
  float* const sums = outputs_.sums == nullptr ? nullptr : outputs_.sums + plan.weight_offsets[q];
  for (std::int64_t k = first; k < end; ++k) {
    const float* const sum = sum_code(job, request_.latents + plan.input_offsets[q],
                                      request_.row_stride, k, memory);
    if (sums != nullptr) {
      std::copy_n(sum, dim, sums + k * stride);
      std::fill(sums + k * stride + dim, sums + (k + 1) * stride, 0.0f);
    }
    if (job.refresh) job.refresh->refresh(k, sum);
  }
  if (sums == nullptr || end < job.panels.num_codes) return;
  const std::int64_t next =
      q + 1 < plan.num_quantizers() ? plan.weight_offsets[q + 1] : plan.weight_size;
  std::fill(sums + end * stride, outputs_.sums + next, 0.0f);
}

void StepResults::average(const std::vector<QuantizerJob>& jobs) const {
  if (outputs_.mean_loss == nullptr) return;
  double total = 0.0;
  for (const QuantizerJob& job : jobs) total += static_cast<double>(job.loss);
  *outputs_.mean_loss = static_cast<float>(total / static_cast<double>(jobs.size()));
}

}  // namespace spinlock
