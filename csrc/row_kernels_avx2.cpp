#include "row_kernels.hpp"
#include "simd/vectors_avx2.hpp"
// Vectors first: what follows is compiled for them.
#include "simd/add_commitment.hpp"
#include "simd/count_rows.hpp"
#include "simd/nearest_rows.hpp"
#include "simd/norm_rows.hpp"
#include "simd/pack_gradient.hpp"
#include "simd/product.hpp"
#include "simd/settle_rows.hpp"
#include "simd/turn_matrix.hpp"
#include "simd/unpacked_rows.hpp"

namespace spinlock {

const RowKernels& avx2_row_kernels() {
  static constexpr RowKernels kernels{
      nearest, nearest_unpacked, settle, count, find_skipped,
      multiply, pack_gradient, turn, normalise,
      norm_gradients, add_commitment, false};
  return kernels;
}

}  // namespace spinlock
