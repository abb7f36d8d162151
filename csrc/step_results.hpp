#pragma once

#include <cstdint>
#include <vector>

#include "quantize_rows.hpp"
#include "quantizer_jobs.hpp"

namespace spinlock {

// What a step returns beside codes and indices, once all rows of a quantizer have been looked up.
class StepResults {
 public:
  StepResults(const QuantizeRequest& request, const QuantizeOutputs& outputs)
      : request_(request), outputs_(outputs) {}

  // Losses, counts and counters of one quantizer; its moving counts, not yet its codes.
  void finish(QuantizerJob& job) const;

  // Sums of codes first .. end - 1, and what follows from them. `memory` as for sum_code.
  void write_codes(const QuantizerJob& job, std::int64_t first, std::int64_t end,
                   float* memory) const;

  // The mean loss, once all quantizers have finished.
  void average(const std::vector<QuantizerJob>& jobs) const;

 private:
  const QuantizeRequest& request_;
  const QuantizeOutputs& outputs_;
};

}  // namespace spinlock
