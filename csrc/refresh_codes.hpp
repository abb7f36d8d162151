#pragma once

#include <cstdint>

#include "codebook_layout.hpp"

namespace spinlock {

// Exponential moving averages of code statistics, changed in place. All are packed like the plan.
struct CodeState {
  float* counts;               // [total_codes]
  float* sums;                 // [weight_size]
  float* weight;               // [weight_size]
  std::int64_t* epoch_counts;  // [total_codes], plain totals; null if not wanted
  std::int64_t* epoch_skipped;  // [Q], likewise
  double decay;
  double epsilon;
};

// One step of one quantizer: N <- decay N + (1 - decay) n, m <- decay m + (1 - decay) s, c = m / N'
// with N' = (N + epsilon) / (sum N + K epsilon) * sum N for the division only. A batch without rows
// changes nothing.
class CodeRefresh {
 public:
  CodeRefresh(const PackingPlan& plan, std::size_t q, const CodeState& state);

  // First the counts n [K] of the batch, as float or std::int64_t,
  template <typename Count>
  void count(const Count* batch_counts);
  // then s [D] of each code; different codes may be refreshed at the same time.
  void refresh(std::int64_t code, const float* batch_sum) const;

 private:
  std::int64_t num_codes_, dim_, stride_;
  float *counts_, *sums_, *weight_;
  float rate_, epsilon_;
  float share_ = 0.0f;
  bool active_ = false;
};

// All quantizers from counts [total_codes] and sums [weight_size] of a batch, in parallel.
void refresh_codes(const PackingPlan& plan, const float* batch_counts, const float* batch_sums,
                   const CodeState& state, int threads);

}  // namespace spinlock
