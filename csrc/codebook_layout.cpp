#include "codebook_layout.hpp"

#include <bit>
#include <utility>

#include "checked_math.hpp"
#include "errors.hpp"

namespace spinlock {
namespace {

void require_positive(const std::vector<std::int64_t>& values, const char* name) {
  for (std::size_t q = 0; q < values.size(); ++q) {
    if (values[q] >= 1) continue;
    throw_layout_error(name, "[", q, "]: expected at least 1, got ", values[q],
                       "; leave a quantizer without codes or dimensions out of both lists");
  }
}

void require_valid(const PackingPlan& plan) {
  if (plan.codebook_sizes.size() != plan.dims.size()) {
    throw_layout_error("codebook_sizes and dims: expected one entry of each per quantizer, got ",
                       plan.codebook_sizes.size(), " codebook sizes and ", plan.dims.size(),
                       " dims; give both lists the same length");
  }
  if (plan.dims.empty()) {
    throw_layout_error(
        "codebook_sizes and dims: expected at least one quantizer, got none; give one codebook "
        "size and one dim, for example codebook_sizes=(16,), dims=(4,)");
  }
  require_positive(plan.codebook_sizes, "codebook_sizes");
  require_positive(plan.dims, "dims");
  if (plan.alignment < 1 || !std::has_single_bit(static_cast<std::uint64_t>(plan.alignment))) {
    throw_layout_error("alignment: expected a power of two (1, 2, 4, 8, ...), got ", plan.alignment,
                       "; 4 gives every code 16-byte alignment in float32");
  }
}

[[noreturn]] void throw_too_large(const PackingPlan& plan, std::size_t q) {
  throw_layout_error("quantizer ", q, " (codebook size K = ", plan.codebook_sizes[q],
                     ", dim D = ", plan.dims[q], ", alignment = ", plan.alignment,
                     "): expected buffers of at most ", kMaxElements,
                     " float32 elements (2^63 - 1 bytes), got more up to and including this "
                     "quantizer; lower its codebook size or dim, or the alignment");
}

}  // namespace

PackingPlan::PackingPlan(std::vector<std::int64_t> codebook_sizes_, std::vector<std::int64_t> dims_,
                         std::int64_t alignment_)
    : codebook_sizes(std::move(codebook_sizes_)), dims(std::move(dims_)), alignment(alignment_) {
  require_valid(*this);
  std::int64_t padded_width = 0;
  for (std::size_t q = 0; q < num_quantizers(); ++q) {
    const auto too_large = [this, q] { throw_too_large(*this, q); };
    const std::int64_t padded = checked_round_up(dims[q], alignment, too_large);
    const std::int64_t elements = checked_multiply(codebook_sizes[q], padded, too_large);
    const std::int64_t block = checked_round_up(elements, kBaseAlignment, too_large);

    padded_dims.push_back(padded);
    input_offsets.push_back(input_width);
    latent_offsets.push_back(padded_width);
    code_offsets.push_back(total_codes);
    weight_offsets.push_back(weight_size);

    weight_size = checked_add(weight_size, block, too_large);
    if (weight_size > kMaxElements) too_large();
    // K and D being at least 1, no other total exceeds weight_size.
    input_width += dims[q];
    padded_width += padded;
    total_codes += codebook_sizes[q];
    latent_width = checked_round_up(padded_width, kBaseAlignment, too_large);
  }
}

}  // namespace spinlock
