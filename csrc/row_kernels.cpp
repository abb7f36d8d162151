#include "row_kernels.hpp"

namespace spinlock {

const RowKernels& row_kernels(Isa isa) {
#ifdef SPINLOCK_X86
  if (isa == Isa::kAvx512Bf16) return avx512_bf16_row_kernels();
  if (isa == Isa::kAvx512) return avx512_row_kernels();
  if (isa == Isa::kAvx2) return avx2_row_kernels();
#endif
  (void)isa;
  return portable_row_kernels();
}

}  // namespace spinlock
