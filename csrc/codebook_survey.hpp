#pragma once

#include <cstdint>
#include <cstring>

#include "codebook_panels.hpp"
#include "padded_rows.hpp"

// What packing a codebook begins with; codebook_panels.cpp makes panels of it.

namespace spinlock {

typedef float Quad __attribute__((vector_size(16)));

inline Quad load_quad(const float* p) {
  Quad v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// The parts of one codebook's working memory.
struct CodebookParts {
  CodebookParts(float* memory, std::int64_t num_codes, std::int64_t dim, bool with_brief) {
    const auto take = [&memory](std::int64_t floats) {
      float* const part = memory;
      memory += whole_lines(floats);
      return part;
    };
    sums = take(dim);
    low = take(dim);
    high = take(dim);
    offset = take(dim);
    weights = take(dim);
    half_norms = take(num_codes);
    prints = take(num_codes);
    ids = reinterpret_cast<std::int32_t*>(take(num_codes));
    table = reinterpret_cast<std::int32_t*>(take(static_cast<std::int64_t>(copy_slots(num_codes))));
    centred = take(num_codes * dim);
    direct = take(num_codes * dim);
    if (with_brief) brief = reinterpret_cast<std::uint32_t*>(take(num_codes * ((dim + 1) / 2)));
  }

  float *sums, *low, *high, *offset, *weights, *half_norms, *prints;
  std::int32_t *ids, *table;
  float *centred, *direct;
  std::uint32_t* brief = nullptr;
};

// Whether all values are finite.
bool is_finite(const float* values, std::int64_t count);

// Sum and range per dim of the kept codes, into sums, low and high; false if any code is not finite.
bool survey(const CodebookPanels& panels, const CodebookParts& parts);

// Offset and scale after a survey, and the weights of the prints.
void choose_centre(CodebookPanels& panels, const CodebookParts& parts);

}  // namespace spinlock
