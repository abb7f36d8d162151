#pragma once

#include "linear_kernels.hpp"
#include "padded_rows.hpp"
#include "ragged_linear.hpp"
#include "row_kernels.hpp"

namespace spinlock {

// [in, out] of every group, or [out, in] if `turned`: the weight itself where it lies like that.
PaddedRows weight_panels(const RaggedLinear& shape, const float* weight, bool turned,
                         const RowKernels& kernels);

// In chunks of terms, so that what all rows read of b stays in the cache.
void multiply_deep(const RowKernels& kernels, Product product);

}  // namespace spinlock
