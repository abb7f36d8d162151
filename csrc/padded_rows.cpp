#include "padded_rows.hpp"

#include <utility>

namespace spinlock {

PaddedRows padded_rows(const std::vector<std::int64_t>& widths, std::int64_t most,
                       const float* rows) {
  if (rows == nullptr) return {};
  const std::int64_t row = whole_lines(most);
  AlignedFloats memory = allocate_floats(row * static_cast<std::int64_t>(widths.size()));
  float* to = memory.get();
  for (const std::int64_t width : widths) {
    put_padded(rows, width, to, row);
    rows += most;
    to += row;
  }
  const float* const data = memory.get();
  return {std::move(memory), data, row, row};
}

}  // namespace spinlock
