#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace spinlock {

// Every buffer of the core begins at a multiple of this: one cache line, one AVX-512 register.
inline constexpr std::int64_t kBufferAlignmentBytes = 64;

// Bases inside a flat float32 buffer are multiples of this many elements, for the same 64 bytes.
inline constexpr std::int64_t kBaseAlignment =
    kBufferAlignmentBytes / static_cast<std::int64_t>(sizeof(float));

// Kernels address bytes, so it is the byte offset that must fit 64 bits.
inline constexpr std::int64_t kMaxElements =
    std::numeric_limits<std::int64_t>::max() / static_cast<std::int64_t>(sizeof(float));

// Where Q ragged codebooks, K_q codes of D_q dimensions each, lie in one flat buffer, and where
// their latents lie in one row. Offsets and sizes count float32 elements, in 64 bits.
//
// Sums run over the quantizers before q:
//   padded_dims[q]    = D_q rounded up to `alignment`: the stride of one code
//   input_offsets[q]  = sum D              first column in a dense row of input_width
//   latent_offsets[q] = sum padded_dims    first column in a padded row of latent_width
//   code_offsets[q]   = sum K              global id of code 0
//   weight_offsets[q] = sum round_up(K * padded_dims, kBaseAlignment)    first element
// weight_size is the sum over all quantizers, latent_width the sum of padded_dims rounded up to
// kBaseAlignment. Both being powers of two, a larger `alignment` holds for these as well. Since
// every term depends on its own quantizer only, a run of quantizers start .. stop - 1 has the plan
// of its own K and D, moved by the offsets of `start`.
struct PackingPlan {
  // Throws LayoutError for a plan that is empty, has entries below 1, an alignment that is no power
  // of two, or needs more bytes than 64 bits can count. Allocates no buffer.
  PackingPlan(std::vector<std::int64_t> codebook_sizes, std::vector<std::int64_t> dims,
              std::int64_t alignment);

  std::size_t num_quantizers() const { return dims.size(); }

  std::vector<std::int64_t> codebook_sizes;
  std::vector<std::int64_t> dims;
  std::int64_t alignment;

  std::vector<std::int64_t> padded_dims;
  std::vector<std::int64_t> input_offsets;
  std::vector<std::int64_t> latent_offsets;
  std::vector<std::int64_t> code_offsets;
  std::vector<std::int64_t> weight_offsets;

  std::int64_t input_width = 0;
  std::int64_t latent_width = 0;
  std::int64_t total_codes = 0;
  std::int64_t weight_size = 0;
};

}  // namespace spinlock
