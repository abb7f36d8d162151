#include "ragged_copy.hpp"

#include <algorithm>
#include <cstddef>

#include "errors.hpp"

namespace spinlock {
namespace {

void require_count(const PackingPlan& plan, const char* name, std::size_t count) {
  if (count == plan.num_quantizers()) return;
  throw_layout_error(name, ": expected one matrix per quantizer, ", plan.num_quantizers(),
                     " in all, got ", count,
                     "; pass one matrix for each quantizer, or pack with a slice of the layout");
}

void require_shape(const char* name, std::size_t q, const ConstMatrix& matrix, std::int64_t rows,
                   std::int64_t cols, const char* meaning) {
  if (matrix.rows == rows && matrix.cols == cols) return;
  throw_layout_error(name, "[", q, "]: expected shape [", rows, ", ", cols, "] (", meaning,
                     "), got [", matrix.rows, ", ", matrix.cols,
                     "]; pass the matrices in the order of the layout's quantizers");
}

void copy_row(const float* from, std::int64_t count, float* to) {
  std::copy_n(from, static_cast<std::size_t>(count), to);
}

void zero(float* begin, float* end) { std::fill(begin, end, 0.0f); }

}  // namespace

void require_codebooks(const PackingPlan& plan, std::span<const ConstMatrix> codebooks) {
  require_count(plan, "codebooks", codebooks.size());
  for (std::size_t q = 0; q < codebooks.size(); ++q) {
    require_shape("codebooks", q, codebooks[q], plan.codebook_sizes[q], plan.dims[q],
                  "codes, dims");
  }
}

std::int64_t require_latents(const PackingPlan& plan, std::span<const ConstMatrix> latents) {
  require_count(plan, "latents", latents.size());
  const std::int64_t rows = latents[0].rows;
  for (std::size_t q = 0; q < latents.size(); ++q) {
    require_shape("latents", q, latents[q], rows, plan.dims[q], "rows of latents[0], dims");
  }
  return rows;
}

void pack_codebooks(const PackingPlan& plan, std::span<const ConstMatrix> codebooks,
                    float* weight) {
  for (std::size_t q = 0; q < codebooks.size(); ++q) {
    const bool last = q + 1 == codebooks.size();
    float* const end = weight + (last ? plan.weight_size : plan.weight_offsets[q + 1]);
    float* code = weight + plan.weight_offsets[q];
    for (std::int64_t k = 0; k < plan.codebook_sizes[q]; ++k) {
      copy_row(codebooks[q].row(k), plan.dims[q], code);
      zero(code + plan.dims[q], code + plan.padded_dims[q]);
      code += plan.padded_dims[q];
    }
    zero(code, end);
  }
}

void unpack_codebooks(const PackingPlan& plan, const float* weight,
                      std::span<const Matrix> codebooks) {
  for (std::size_t q = 0; q < codebooks.size(); ++q) {
    const float* code = weight + plan.weight_offsets[q];
    for (std::int64_t k = 0; k < plan.codebook_sizes[q]; ++k) {
      copy_row(code, plan.dims[q], codebooks[q].row(k));
      code += plan.padded_dims[q];
    }
  }
}

void pack_latents(const PackingPlan& plan, std::span<const ConstMatrix> latents,
                  const Matrix& packed) {
  for (std::int64_t row = 0; row < packed.rows; ++row) {
    float* const begin = packed.row(row);
    float* written = begin;
    for (std::size_t q = 0; q < latents.size(); ++q) {
      float* const latent = begin + plan.latent_offsets[q];
      zero(written, latent);
      copy_row(latents[q].row(row), plan.dims[q], latent);
      written = latent + plan.dims[q];
    }
    zero(written, begin + plan.latent_width);
  }
}

void unpack_latents(const PackingPlan& plan, const ConstMatrix& packed,
                    std::span<const Matrix> latents) {
  for (std::int64_t row = 0; row < packed.rows; ++row) {
    for (std::size_t q = 0; q < latents.size(); ++q) {
      copy_row(packed.row(row) + plan.latent_offsets[q], plan.dims[q], latents[q].row(row));
    }
  }
}

}  // namespace spinlock
