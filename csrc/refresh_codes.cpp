#include "refresh_codes.hpp"

#include "simd/parallel_for.hpp"

namespace spinlock {

CodeRefresh::CodeRefresh(const PackingPlan& plan, std::size_t q, const CodeState& state)
    : num_codes_(plan.codebook_sizes[q]),
      dim_(plan.dims[q]),
      stride_(plan.padded_dims[q]),
      counts_(state.counts + plan.code_offsets[q]),
      sums_(state.sums + plan.weight_offsets[q]),
      weight_(state.weight + plan.weight_offsets[q]),
      rate_(static_cast<float>(1.0 - state.decay)),
      epsilon_(static_cast<float>(state.epsilon)) {}

template <typename Count>
void CodeRefresh::count(const Count* batch_counts) {
  double rows = 0.0;
  for (std::int64_t k = 0; k < num_codes_; ++k) rows += static_cast<double>(batch_counts[k]);
  active_ = rows > 0.0;
  if (!active_) return;
  double total = 0.0;
  for (std::int64_t k = 0; k < num_codes_; ++k) {
    counts_[k] += rate_ * (static_cast<float>(batch_counts[k]) - counts_[k]);
    total += static_cast<double>(counts_[k]);
  }
  const double pseudo = static_cast<double>(num_codes_) * static_cast<double>(epsilon_);
  share_ = static_cast<float>(total / (total + pseudo));
}

template void CodeRefresh::count(const float* batch_counts);
template void CodeRefresh::count(const std::int64_t* batch_counts);

void CodeRefresh::refresh(std::int64_t code, const float* batch_sum) const {
  if (!active_) return;
  float* __restrict const sum = sums_ + code * stride_;
  float* __restrict const weight = weight_ + code * stride_;
  const float smoothed = (counts_[code] + epsilon_) * share_;
  for (std::int64_t d = 0; d < dim_; ++d) {
    sum[d] += rate_ * (batch_sum[d] - sum[d]);
    weight[d] = sum[d] / smoothed;
  }
}

void refresh_codes(const PackingPlan& plan, const float* batch_counts, const float* batch_sums,
                   const CodeState& state, int threads) {
  constexpr std::int64_t kSmall = 1 << 17;
  const auto count = static_cast<std::int64_t>(plan.num_quantizers());
  parallel_for(count, plan.weight_size < kSmall ? 1 : threads, [&](std::int64_t job, int) {
    const auto q = static_cast<std::size_t>(job);
    const float* const counts = batch_counts + plan.code_offsets[q];
    const float* const sums = batch_sums + plan.weight_offsets[q];
    CodeRefresh codes(plan, q, state);
    codes.count(counts);
    for (std::int64_t k = 0; k < plan.codebook_sizes[q]; ++k) {
      codes.refresh(k, sums + k * plan.padded_dims[q]);
    }
    if (state.epoch_counts == nullptr) return;
    std::int64_t* const epoch = state.epoch_counts + plan.code_offsets[q];
    for (std::int64_t k = 0; k < plan.codebook_sizes[q]; ++k) {
      epoch[k] += static_cast<std::int64_t>(counts[k]);
    }
  });
}

}  // namespace spinlock
