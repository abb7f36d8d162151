#pragma once

#include <cstdint>
#include <vector>

#include "ragged_linear.hpp"

namespace spinlock {

// Columns `column` .. `end` - 1 of a group's input.
struct LinearSlab {
  std::int64_t group, column, end;
  std::int64_t sums;  // where its [end - column, whole_lines(out)] begin in the memory of the piece
};

// What one thread takes of a backward pass: slabs side by side, and that many sums.
struct LinearPiece {
  std::vector<LinearSlab> slabs;
  std::int64_t weights = 0;
};

// About as many pieces as threads, none of less than a line of columns unless its group has fewer;
// or more: their sums stay in a cache while rows pass. Each element of a result belongs to one slab,
// which adds it up in the order of the rows, so that no bit hangs on where pieces are cut.
std::vector<LinearPiece> linear_pieces(const RaggedLinear& shape, int threads);

}  // namespace spinlock
