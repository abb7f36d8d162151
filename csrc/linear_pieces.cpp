#include "linear_pieces.hpp"

#include <algorithm>
#include <cstddef>

#include "padded_rows.hpp"

namespace spinlock {

std::vector<LinearPiece> linear_pieces(const RaggedLinear& shape, int threads) {
  constexpr std::int64_t kMostSums = 1 << 16;
  std::int64_t all = 0;
  for (std::int64_t g = 0; g < shape.num_groups(); ++g) {
    const auto at = static_cast<std::size_t>(g);
    all += shape.in_widths[at] * whole_lines(shape.out_widths[at]);
  }
  const std::int64_t wanted = std::min(kMostSums, (all + threads - 1) / threads);
  std::vector<LinearPiece> pieces(1);
  for (std::int64_t g = 0; g < shape.num_groups(); ++g) {
    const auto at = static_cast<std::size_t>(g);
    const std::int64_t width = shape.in_widths[at], row = whole_lines(shape.out_widths[at]);
    for (std::int64_t column = 0; column < width;) {
      const std::int64_t room = (wanted - pieces.back().weights) / row;
      if (room < kLineFloats / 2 && !pieces.back().slabs.empty()) {
        pieces.emplace_back();
        continue;
      }
      // Whole lines, one at least.
      const std::int64_t lines = std::max(room / kLineFloats, std::int64_t{1});
      const std::int64_t left = width - column;
      const std::int64_t some = left <= room ? left : std::min(left, lines * kLineFloats);
      LinearPiece& piece = pieces.back();
      piece.slabs.push_back({g, column, column + some, piece.weights});
      piece.weights += some * row;
      column += some;
    }
  }
  return pieces;
}

}  // namespace spinlock
