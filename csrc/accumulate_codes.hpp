#pragma once

#include <cstdint>

#include "quantizer_jobs.hpp"

namespace spinlock {

// Sums of rows by code, from what the chunks of a job left behind.

// Adds the tables of all chunks in ascending order, or sorts the rows by code.
void finish_chunks(QuantizerJob& job, std::int64_t num_rows);

// Writes counts [K] and sums [K, padded_dim] of codes first .. end - 1. `rows` are those of the
// quantizer, `padded_dim` elements the stride of one code.
void write_statistics(const QuantizerJob& job, const float* rows, std::int64_t row_stride,
                      std::int64_t padded_dim, std::int64_t first, std::int64_t end, float* counts,
                      float* sums);

}  // namespace spinlock
