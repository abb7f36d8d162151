#pragma once

#include <cstdint>
#include <span>

#include "codebook_layout.hpp"

namespace spinlock {

// A row-major matrix that somebody else owns; consecutive rows begin `row_stride` elements apart.
template <typename Value>
struct MatrixView {
  Value* data;
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t row_stride;

  Value* row(std::int64_t index) const { return data + index * row_stride; }
};

using ConstMatrix = MatrixView<const float>;
using Matrix = MatrixView<float>;

// Throws LayoutError unless codebooks[q] is [K_q, D_q] for every quantizer of the plan.
void require_codebooks(const PackingPlan& plan, std::span<const ConstMatrix> codebooks);

// Throws LayoutError unless latents[q] is [rows, D_q] for every quantizer; returns the rows.
std::int64_t require_latents(const PackingPlan& plan, std::span<const ConstMatrix> latents);

// The copies below check nothing: sizes are as required above, `weight` has weight_size elements,
// `packed` is [rows, latent_width], and no source overlaps its destination. Packing writes every
// element of the destination, zeros where no value lies; unpacking reads values only.
void pack_codebooks(const PackingPlan& plan, std::span<const ConstMatrix> codebooks, float* weight);
void unpack_codebooks(const PackingPlan& plan, const float* weight,
                      std::span<const Matrix> codebooks);
void pack_latents(const PackingPlan& plan, std::span<const ConstMatrix> latents,
                  const Matrix& packed);
void unpack_latents(const PackingPlan& plan, const ConstMatrix& packed,
                    std::span<const Matrix> latents);

}  // namespace spinlock
