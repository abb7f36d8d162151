#pragma once

#include <cstdint>

#include "quantizer_jobs.hpp"

namespace spinlock {

// Sums of rows by code, from what the chunks of a job left behind.

// Sorts the rows by code where the job says so, and writes counts [K].
void count_codes(QuantizerJob& job, std::int64_t num_rows, std::int64_t* counts);

// Floats of `memory` that sum_code needs.
std::int64_t sum_floats(std::int64_t dim);

// The sum [D] of the rows of one code: chunks in ascending order, added in float64 and rounded once;
// it lies in `memory` or in the job's tables. `rows` are the columns of the quantizer.
const float* sum_code(const QuantizerJob& job, const float* rows, std::int64_t row_stride,
                      std::int64_t code, float* memory);

}  // namespace spinlock
