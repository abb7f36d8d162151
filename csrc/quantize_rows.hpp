#pragma once

#include <cstdint>
#include <memory>

#include "codebook_layout.hpp"
#include "refresh_codes.hpp"
#include "simd/isa.hpp"

namespace spinlock {

// Rows for all quantizers of a plan, and how to work on them.
struct QuantizeRequest {
  const PackingPlan& plan;
  const float* latents;  // [num_rows, input_width], consecutive rows row_stride elements apart
  std::int64_t num_rows;
  std::int64_t row_stride;
  const float* weight;          // [weight_size]; null only with `given` and without what needs it
  const std::int64_t* given;    // [num_rows, Q], codes already chosen; null looks them up
  int threads;
  Isa isa;
};

// Each null where it is not wanted. `sums` and `state` need `counts`.
struct QuantizeOutputs {
  std::int64_t* indices = nullptr;   // [num_rows, Q]
  float* quantized = nullptr;        // [num_rows, input_width], dense
  double* squared_error = nullptr;   // [Q]
  float* losses = nullptr;           // [Q], squared error per usable row and dim, 0 without any
  float* mean_loss = nullptr;        // [1], over quantizers
  std::int64_t* counts = nullptr;    // [total_codes], usable rows of each code
  float* sums = nullptr;             // [weight_size], packed like the weight
  std::int64_t* skipped = nullptr;   // [Q], rows that are not finite within a quantizer's columns
  // Moved by the statistics: each quantizer's part once its own rows have been looked up and, where
  // indices are given, all of them have been checked.
  const CodeState* state = nullptr;
};

// Lookup, gather, squared error, statistics and refresh of all quantizers in one pass over the rows.
// Exact: the code of least float64 distance, the lowest index on ties. A row that is not finite
// within a quantizer's columns gets index 0 and code 0 there, and enters neither error nor
// statistics. Results do not depend on `threads`, bit for bit. Throws LayoutError for codebooks of
// 2^31 codes or more and for given indices outside their codebook; std::bad_alloc.
void quantize_rows(const QuantizeRequest& request, const QuantizeOutputs& outputs);

// The same in two steps, for several calls of which none may fail once the first has moved its
// state: all that is allocated is allocated here, and by the caller.
class QuantizeCall {
 public:
  // Throws what quantize_rows does, but for given indices. What both point to outlives it.
  QuantizeCall(const QuantizeRequest& request, const QuantizeOutputs& outputs);
  QuantizeCall(QuantizeCall&&) noexcept;
  ~QuantizeCall();

  // Working memory that `run` takes, on a 64-byte boundary.
  std::int64_t floats() const;
  // Once. Throws for given indices outside their codebook only.
  void run(float* memory) const;

 private:
  struct Held;
  std::unique_ptr<Held> held_;
};

}  // namespace spinlock
