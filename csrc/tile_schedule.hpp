#pragma once

#include <cstdint>
#include <vector>

#include "codebook_layout.hpp"

namespace spinlock {

// One unit of work: rows row0 .. min(row0 + block_rows, num_rows) - 1 against one codebook.
struct Tile {
  std::int32_t quantizer;
  std::int32_t row0;
};

// Every (quantizer, row block) exactly once, heaviest first, so that the last tiles to start are
// the short ones. The cost of a tile is K * padded D * rows; equal costs keep the order (quantizer,
// row0). Rows and quantizers are indexed in 32 bits: throws LayoutError where the rows, rounded up
// to whole blocks, do not fit. No rows give no tiles.
std::vector<Tile> tile_schedule(const PackingPlan& plan, std::int64_t num_rows,
                                std::int64_t block_rows);

}  // namespace spinlock
