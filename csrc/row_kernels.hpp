#pragma once

#include <cstdint>

#include "codebook_panels.hpp"
#include "linear_kernels.hpp"
#include "norm_kernels.hpp"
#include "simd/isa.hpp"

namespace spinlock {

// What a lookup writes for a row that is not finite.
inline constexpr std::int32_t kSkipped = -1;

// What is read or written next, fetched into a cache meanwhile: `rows` of as many columns, `stride`
// elements apart, or a stretch of rows x columns elements where the stride is 0.
struct Upcoming {
  const float* data = nullptr;
  std::int64_t stride = 0;
  std::int64_t rows = 0;
};

// `count` rows of one quantizer's columns, `stride` elements apart.
struct Rows {
  const float* data;
  std::int64_t stride;
  std::int64_t count;
  Upcoming next = {};

  // Some of them; what comes next are those behind.
  Rows part(std::int64_t first, std::int64_t some) const {
    const float* const end = data + (first + some) * stride;
    const std::int64_t left = stride == 0 ? 0 : count - first - some;
    return {data + first * stride, stride, some, left > 0 ? Upcoming{end, stride, left} : next};
  }
};

// Where the rows of one quantizer go once their codes are known. Null members are left alone.
struct RowOutputs {
  float* quantized = nullptr;  // code of each row, [count, D]
  std::int64_t quantized_stride = 0;
  Upcoming next = {};  // of the codes
  float* sums = nullptr;  // += rows by code, [K, sums_stride]: a multiple of 16, 64-byte aligned
  std::int64_t sums_stride = 0;
};

// Working memory of one thread for the lookups below.
inline std::int64_t lookup_floats(std::int64_t num_codes, std::int64_t dim, bool brief) {
  const std::int64_t groups = num_codes / (kPanelCodes * brief_panels_per_group(dim)) + 1;
  const std::int64_t extra = brief ? kTileRows * ((dim + 1) / 2 + groups) : 0;
  const std::int64_t tiles = 2 * kTileRows * dim + extra;
  return tiles < num_codes ? num_codes : tiles;
}

// The inner loops of one instruction set. All of them take rows of one quantizer.
struct RowKernels {
  // out[i] = nearest code or kSkipped, through panels. `memory` holds lookup_floats aligned floats.
  void (*nearest)(const CodebookPanels& panels, LazyDirect& direct, const Rows& rows, float* memory,
                  std::int32_t* out);
  // The same without panels, for few rows; of `panels` it reads codes, stride, num_codes and dim.
  void (*nearest_unpacked)(const CodebookPanels& panels, const Rows& rows, float* memory,
                           std::int32_t* out);
  // Gathers codes and adds rows up by code; returns `error` plus the squared error, added tile by
  // tile, so that it does not matter how rows are cut into calls of whole tiles. `chosen` as from a
  // lookup. Without panels.codes it only adds up.
  double (*settle)(const CodebookPanels& panels, const Rows& rows, const std::int32_t* chosen,
                   const RowOutputs& outputs, double error);
  // counts[chosen[i]] += 1; `chosen` as from a lookup.
  void (*count)(const std::int32_t* chosen, std::int64_t rows, std::int64_t num_codes,
                std::int32_t* counts);
  // out[i] = 0 for a finite row, kSkipped for any other.
  void (*find_skipped)(std::int64_t dim, const Rows& rows, std::int32_t* out);
  // Writes product.out.
  void (*multiply)(const Product& product);
  // Writes packed and adds to sums.
  void (*pack_gradient)(const OutputGradient& gradient);
  // Writes turn.to.
  void (*turn)(const Turn& turn);
  // Writes output and moments.
  void (*normalise)(const NormRows& rows);
  // Writes grad_input and adds to sums.
  void (*norm_gradients)(const NormGradients& gradients);
  // out[i] = grad[i] + factor[i] (x[i] - code[i]), each operation rounded; without grad where null.
  void (*add_commitment)(const float* grad, const float* factor, const float* x, const float* code,
                         std::int64_t count, float* out);
  // Whether `nearest` makes use of panels.brief.
  bool brief;
};

const RowKernels& row_kernels(Isa isa);

const RowKernels& portable_row_kernels();
const RowKernels& avx2_row_kernels();
const RowKernels& avx512_row_kernels();
const RowKernels& avx512_bf16_row_kernels();

}  // namespace spinlock
